"""An unlocked volume: the codecs it is made of, its randomness, its end."""

import os

import pytest

from pcvfs.cipherdir.lifecycle import unlock_volume
from pcvfs.cipherdir.volume import Volume, VolumeFormat
from pcvfs.crypto.aead import CipherKind
from pcvfs.errors import AuthenticationError, FormatError
from pcvfs.format.names import NO_DIRIV
from pcvfs.spec import NAME_MAX
from tests.unit.cipherdir.builder import PASSWORD, Builder, fast_options

EVERY_FORMAT = [
    fast_options(cipher=cipher, **names)
    for cipher in CipherKind
    for names in (
        {},
        {"deterministic_names": True},
        {"long_name_max": 62},
        {"long_name_max": 255},
        {"plaintext_names": True},
        {"plaintext_names": True, "deterministic_names": True, "long_name_max": 100},
        {"raw64": False},
    )
]


@pytest.mark.parametrize("options", EVERY_FORMAT, ids=str)
def test_volume_format_from_options_is_that_of_the_config_they_make(options, tmp_path):
    builder = Builder(tmp_path / "volume", options)
    with builder.volume as volume:
        assert volume.config is not None
        assert VolumeFormat.from_options(options) == VolumeFormat.from_config(volume.config)
        assert volume.raw64 == volume.config.raw64 == volume.names.base64.raw
        assert volume.layout.overhead == options.cipher.overhead


def test_random_values_have_their_sizes_and_differ(builder):
    volume = builder.volume
    nonce_size = volume.content.kind.nonce_size
    assert len(volume.new_file_id()) == len(volume.new_diriv()) == 16
    assert len(volume.new_nonces(5)) == 5 * nonce_size
    assert len({volume.new_file_id(), volume.new_file_id(), volume.new_diriv(), volume.new_diriv()}) == 4
    nonces = volume.new_nonces(100)
    assert len({nonces[i : i + nonce_size] for i in range(0, len(nonces), nonce_size)}) == 100


def test_root_diriv_is_that_of_the_file_or_none_at_all(tmp_path):
    with Builder(tmp_path / "with").volume as volume:
        assert volume.root_diriv() == (tmp_path / "with" / "gocryptfs.diriv").read_bytes()
        (tmp_path / "with" / "gocryptfs.diriv").chmod(0o600)
        (tmp_path / "with" / "gocryptfs.diriv").write_bytes(bytes(16))
        with pytest.raises(FormatError):
            volume.root_diriv()
    with Builder(tmp_path / "without", fast_options(deterministic_names=True)).volume as volume:
        assert volume.root_diriv() == NO_DIRIV


def test_symlink_targets_are_encrypted_unless_names_are_plaintext(tmp_path):
    with Builder(tmp_path / "encrypted").volume as volume:
        stored = volume.encode_symlink(b"target")
        assert b"target" not in stored
        assert volume.encode_symlink(b"target") != stored
        assert volume.decode_symlink(stored) == b"target"
    with Builder(tmp_path / "plaintext", fast_options(plaintext_names=True)).volume as volume:
        assert volume.encode_symlink(b"target") == volume.decode_symlink(b"target") == b"target"


def test_attribute_values_are_encrypted_but_those_of_acls(builder):
    volume = builder.volume
    stored = volume.encode_xattr_value(b"user.name", b"value")
    assert b"value" not in stored
    assert volume.decode_xattr_value(b"user.name", stored) == b"value"
    with pytest.raises(AuthenticationError):
        volume.decode_xattr_value(b"user.name", stored[:-1])
    acl = b"system.posix_acl_access"
    assert volume.encode_xattr_value(acl, b"value") == volume.decode_xattr_value(acl, b"value") == b"value"


def test_close_ends_the_codecs_and_the_descriptor_once(tmp_path):
    volume = Builder(tmp_path / "volume").volume
    root_fd = volume.root_fd
    volume.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(root_fd)
    again = os.open(tmp_path, os.O_RDONLY)
    volume.close()  # must not close a descriptor that has the number by now
    os.fstat(again)
    os.close(again)
    with pytest.raises(ValueError, match="closed"):
        volume.content.seal_blob(b"x", bytes(range(16)))
    with pytest.raises(ValueError, match="closed"):
        volume.names.encode(b"x", volume.new_diriv())


def test_repr_shows_no_keys_or_config(builder):
    config = builder.volume.config
    assert config is not None
    assert repr(config.encrypted_key) not in repr(builder.volume)
    assert "salt" not in repr(builder.volume)


def test_hash_long_names_off_reaches_the_names(builder):
    with unlock_volume(os.fsencode(builder.root), password=PASSWORD, hash_long_names=False) as volume:
        assert isinstance(volume, Volume)
        with pytest.raises(OSError, match="too long"):
            volume.names.encode(b"x" * NAME_MAX, volume.root_diriv())
