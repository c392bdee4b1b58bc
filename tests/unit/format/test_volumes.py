"""Whole volumes written by gocryptfs, decoded with nothing but this package: the plaintext tree must come out."""

import hashlib
import stat

import pytest

from pcvfs import spec
from pcvfs.crypto.aead import content_cipher
from pcvfs.crypto.eme import name_cipher
from pcvfs.crypto.secret import Secret
from pcvfs.format.blobs import decode_symlink, decode_xattr_value
from pcvfs.format.blocks import BlockLayout
from pcvfs.format.config import parse_config
from pcvfs.format.header import decode_header
from pcvfs.format.keys import derive_keys
from pcvfs.format.names import NO_DIRIV, NameClass, NameCodec, decode_diriv, sidecar_name
from pcvfs.format.xattrs import XattrNameCodec
from tests.unit.format.vectors import VOLUME_NAMES, load_volume


class Decoder:
    def __init__(self, volume):
        self.volume = volume
        self.cfg = cfg = parse_config(volume.config)
        keys = derive_keys(cfg, Secret.from_bytes(volume.master_key))
        self.content = content_cipher(cfg.cipher_kind, keys.content_key)
        cipher = name_cipher(keys.names_key)
        self.names = NameCodec(
            None if cfg.plaintext_names else cipher,
            has_diriv=cfg.has_diriv,
            long_name_max=cfg.long_name_max,
            raw64=cfg.raw64,
        )
        self.xattr_names = XattrNameCodec(cipher, raw64=cfg.raw64)
        self.layout = BlockLayout(cfg.cipher_kind.overhead)
        self.children = {}
        for path in volume.cipher:
            parent, _, name = path.rpartition("/")
            self.children.setdefault(parent, []).append(name)

    def diriv(self, directory):
        if not self.cfg.has_diriv:
            return NO_DIRIV
        prefix = f"{directory}/" if directory else ""
        return decode_diriv(self.volume.files[prefix + spec.DIRIV_NAME.decode()])

    def walk(self, directory="", plain_directory=""):
        """Yield (plaintext path, path in the backing tree) of everything but the volume's own files."""
        diriv = self.diriv(directory)
        for cname in map(str.encode, self.children.get(directory, [])):
            if (cname == spec.CONFIG_NAME and not directory) or (cname == spec.DIRIV_NAME and self.cfg.has_diriv):
                continue
            path = "/".join(filter(None, [directory, cname.decode()]))
            kind = self.names.classify(cname)
            if kind is NameClass.LONG_SIDECAR:
                continue
            full = cname if kind is NameClass.NORMAL else self.volume.files[sidecar_name(path.encode()).decode()]
            name = self.names.decode(full, diriv)
            stored = self.names.encode(name, diriv)
            assert (stored.cname, stored.long_name or cname) == (cname, full)
            plain_path = "/".join(filter(None, [plain_directory, name.decode("utf-8", "surrogateescape")]))
            yield plain_path, path
            if stat.S_ISDIR(int(self.volume.cipher[path]["mode"], 8)):
                yield from self.walk(path, plain_path)

    def content_of(self, path):
        data = self.volume.files[path]
        if not data:
            return b""
        file_id = decode_header(data[: spec.HEADER_SIZE])
        return self.content.open_blocks(data[spec.HEADER_SIZE :], 0, file_id)

    def target_of(self, path):
        stored = self.volume.cipher[path]["target"].encode("utf-8", "surrogateescape")
        return stored if self.names.is_plaintext else decode_symlink(stored, self.content, self.cfg.raw64)

    def xattrs_of(self, path):
        stored = {
            name.encode(): bytes.fromhex(value)
            for name, value in self.volume.cipher[path].get("xattrs_hex", {}).items()
        }
        result = {}
        for cname, value in stored.items():
            name = self.xattr_names.decode(cname)
            assert name is not None
            assert self.xattr_names.encode(name) == cname
            result[name.decode()] = (
                value if name in spec.ACL_XATTRS else decode_xattr_value(value, self.content, self.cfg.raw64)
            ).hex()
        return result


@pytest.fixture
def decoder(volume):
    return Decoder(volume)


def test_volume_tree_is_complete(decoder):
    hidden = {".gocryptfs.reverse.conf"} if decoder.volume.meta["reverse"] else set()
    assert sorted(plain for plain, _ in decoder.walk()) == sorted(set(decoder.volume.plain) - hidden)


def test_volume_files_decrypt_to_their_content(decoder):
    checked = 0
    for plain_path, path in decoder.walk():
        expected = decoder.volume.plain[plain_path]
        if path not in decoder.volume.files:
            continue
        content = decoder.content_of(path)
        assert len(content) == expected["size"]
        assert hashlib.sha256(content).hexdigest() == expected["sha256"]
        assert decoder.layout.cipher_to_plain_size(decoder.volume.cipher[path]["size"]) == expected["size"]
        assert decoder.layout.plain_to_cipher_size(expected["size"]) == decoder.volume.cipher[path]["size"]
        checked += 1
    assert checked > 10


def test_volume_symlinks_decrypt_to_their_target(decoder):
    checked = 0
    for plain_path, path in decoder.walk():
        if "target" in decoder.volume.cipher[path]:
            assert decoder.target_of(path) == decoder.volume.plain[plain_path]["target"].encode(
                "utf-8", "surrogateescape"
            )
            checked += 1
    assert checked


@pytest.mark.parametrize("name", [name for name in VOLUME_NAMES if not name.startswith("reverse")])
def test_volume_xattrs_decrypt(name):  # not of reverse volumes: gocryptfs 2.3 has no attributes there
    decoder = Decoder(load_volume(name))
    checked = 0
    for plain_path, path in decoder.walk():
        found = decoder.xattrs_of(path)
        assert found == decoder.volume.plain[plain_path].get("xattrs_hex", {})
        checked += len(found)
    assert checked
