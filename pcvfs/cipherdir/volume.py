"""An unlocked volume: the open cipherdir, and the codecs made from its keys.

Owns the descriptor of the cipherdir's root, the key schedules, and all randomness that goes into a cipherdir. Knows
nothing of passwords (``lifecycle``) or FUSE.

Concurrency: the codecs may be used from any thread; ``close`` must come after the last use of any of them.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from pcvfs.cipherdir import backing
from pcvfs.crypto.aead import CipherKind, ContentCipher, Engine, content_cipher
from pcvfs.crypto.eme import NameCipher, name_cipher
from pcvfs.crypto.secret import Secret
from pcvfs.format import blobs
from pcvfs.format.blocks import BlockLayout
from pcvfs.format.config_record import VolumeConfig
from pcvfs.format.keys import CreateOptions, VolumeKeys, derive_volume_keys
from pcvfs.format.names import NO_DIRIV, NameCodec
from pcvfs.format.xattrs import XattrNameCodec
from pcvfs.records import record
from pcvfs.spec import ACL_XATTRS, DIRIV_SIZE, FILE_ID_SIZE, NAME_MAX
from pcvfs.types import DirIV, FileId


def random_bytes(size: int) -> bytes:
    """Random bytes from the kernel: nonces, salts, file ids, directory IVs."""
    return os.urandom(size)


@record
class VolumeFormat:
    """What decides how a volume is encrypted: read from its config, or told by whoever has only the master key."""

    cipher: CipherKind
    plaintext_names: bool
    has_diriv: bool
    long_name_max: int  # bytes of an encrypted name; 255 unless chosen
    raw64: bool
    has_hkdf: bool

    @classmethod
    def from_config(cls, config: VolumeConfig) -> Self:
        """The format that a config states."""
        return cls(
            cipher=config.cipher_kind,
            plaintext_names=config.plaintext_names,
            has_diriv=config.has_diriv,
            long_name_max=config.effective_long_name_max,
            raw64=config.raw64,
            has_hkdf=config.has_hkdf,
        )

    @classmethod
    def from_options(cls, options: CreateOptions) -> Self:
        """The format of a volume that was made with these options."""
        has_names = not options.plaintext_names
        return cls(
            cipher=options.cipher,
            plaintext_names=options.plaintext_names,
            has_diriv=has_names and not options.deterministic_names,
            long_name_max=(has_names and options.long_name_max) or NAME_MAX,
            raw64=has_names and options.raw64,  # attribute names of such volumes are padded: no config says Raw64
            has_hkdf=options.hkdf,
        )

    def derive_keys(self, master_key: Secret) -> VolumeKeys:
        """The keys of a volume of this format; the caller wipes them."""
        return derive_volume_keys(self.cipher, master_key, has_hkdf=self.has_hkdf)


class Volume:
    """Everything that file operations on one cipherdir need. A context manager: leaving it closes the volume.

    Attributes:
        root_fd: the root of the cipherdir, readable; open for as long as the volume.
        path: the cipherdir as it was named.
        config: what was unlocked; None if a master key given by hand took its place.
        layout: sizes and offsets of file content.
        content: seals file blocks, symlink targets and attribute values.
        names: file names.
        xattr_names: attribute names; encrypted even where file names are not.
        raw64: base64 without padding.
    """

    def __init__(
        self,
        *,
        root_fd: int,
        path: bytes,
        config: VolumeConfig | None,
        layout: BlockLayout,
        content: ContentCipher,
        names: NameCodec,
        xattr_names: XattrNameCodec,
        raw64: bool,
        name_cipher: NameCipher,
    ) -> None:
        self.root_fd = root_fd
        self.path = path
        self.config = config
        self.layout = layout
        self.content = content
        self.names = names
        self.xattr_names = xattr_names
        self.raw64 = raw64
        self.name_cipher = name_cipher
        self.is_closed = False

    @classmethod
    def open_keys(
        cls,
        root_fd: int,
        path: bytes,
        volume_format: VolumeFormat,
        keys: VolumeKeys,
        *,
        config: VolumeConfig | None = None,
        hash_long_names: bool = True,
        engine: Engine = "native",
    ) -> Self:
        """Make the codecs of a volume from its keys.

        Args:
            root_fd: taken over by the volume that is returned; still the caller's if this raises.
            keys: read, not kept; the caller wipes them.
            config: where ``volume_format`` is from.
            hash_long_names: False makes names that need hashing impossible (ENAMETOOLONG).
            engine: "reference" is the slow Python code that the C code is tested against.
        """
        content = content_cipher(volume_format.cipher, keys.content_key, engine=engine)
        eme = name_cipher(keys.names_key, engine=engine)
        names = NameCodec(
            None if volume_format.plaintext_names else eme,
            has_diriv=volume_format.has_diriv,
            long_name_max=volume_format.long_name_max,
            raw64=volume_format.raw64,
            hash_long_names=hash_long_names,
        )
        return cls(
            root_fd=root_fd,
            path=path,
            config=config,
            layout=BlockLayout(volume_format.cipher.overhead),
            content=content,
            names=names,
            xattr_names=XattrNameCodec(eme, raw64=volume_format.raw64),
            raw64=volume_format.raw64,
            name_cipher=eme,
        )

    # --- the root -----------------------------------------------------------------------------------------------
    def read_diriv(self, dirfd: int) -> DirIV:
        """The IV of a directory; 16 zero bytes in a volume without directory IVs.

        Raises:
            FormatError, OSError: the directory is unusable.
        """
        return backing.read_diriv(dirfd) if self.names.has_diriv else NO_DIRIV

    def root_diriv(self) -> DirIV:
        """The IV of the root directory, as ``read_diriv``."""
        return self.read_diriv(self.root_fd)

    # --- randomness ---------------------------------------------------------------------------------------------
    def new_file_id(self) -> FileId:
        """16 random bytes for the header of a new file."""
        return FileId(random_bytes(FILE_ID_SIZE))

    def new_diriv(self) -> DirIV:
        """16 random bytes for a new directory."""
        return DirIV(random_bytes(DIRIV_SIZE))

    def new_nonces(self, blocks: int) -> bytes:
        """Fresh random nonces for that many blocks, in one draw."""
        return random_bytes(blocks * self.content.kind.nonce_size)

    # --- values without blocks ----------------------------------------------------------------------------------
    def encode_symlink(self, target: bytes) -> bytes:
        """The target to store for a symlink to ``target``. ENAMETOOLONG if that has more than 4095 bytes."""
        if self.names.is_plaintext:
            return target
        return blobs.encode_symlink(target, self.content, self.new_nonces(1), self.raw64)

    def decode_symlink(self, stored: bytes) -> bytes:
        """The plaintext of a stored symlink target.

        Raises:
            NameDecodeError, AuthenticationError: not written by this volume.
        """
        if self.names.is_plaintext:
            return stored
        return blobs.decode_symlink(stored, self.content, self.raw64)

    def encode_xattr_value(self, name: bytes, value: bytes) -> bytes:
        """The value to store for the attribute ``name`` (plaintext); that of a POSIX ACL stays as it is."""
        if name in ACL_XATTRS:
            return value
        return blobs.encode_xattr_value(value, self.content, self.new_nonces(1))

    def decode_xattr_value(self, name: bytes, stored: bytes) -> bytes:
        """The plaintext of a stored attribute value; ``name`` is the plaintext name.

        Raises:
            AuthenticationError: not written by this volume.
        """
        if name in ACL_XATTRS:
            return stored
        return blobs.decode_xattr_value(stored, self.content, self.raw64)

    # --- end ----------------------------------------------------------------------------------------------------
    def close(self) -> None:
        """Wipe the keys and close the root (which also drops the lock on the cipherdir). Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        self.content.close()
        self.name_cipher.close()
        backing.close(self.root_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
