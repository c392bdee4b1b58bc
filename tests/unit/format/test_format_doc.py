"""docs/format.md is checked, not trusted: its tables and its worked example are parsed and compared with the code."""

import hashlib
import re
from pathlib import Path

import pytest

from pcvfs import spec
from pcvfs.crypto.aead import CipherKind, content_cipher
from pcvfs.crypto.eme import name_cipher
from pcvfs.crypto.kdf import hkdf_sha256, scrypt
from pcvfs.crypto.secret import Secret
from pcvfs.format.blobs import decode_symlink, decode_xattr_value, encode_symlink, encode_xattr_value
from pcvfs.format.blocks import BlockLayout
from pcvfs.format.config import FeatureFlag, parse_config, serialize_config
from pcvfs.format.header import encode_header
from pcvfs.format.keys import CreateOptions, derive_volume_keys, make_config, unwrap_master_key
from pcvfs.format.names import NameCodec, decode_diriv, pad, sidecar_name
from pcvfs.format.xattrs import XattrNameCodec
from pcvfs.types import DirIV, FileId

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "format.md").read_text()


def table(*header):
    """The rows of the table with this header line, as lists of cells."""
    lines = DOCUMENT.splitlines()
    start = lines.index("| " + " | ".join(header) + " |")
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    assert rows
    return rows


def example(name):
    """The fields of an example: text in quotes as it is, hexadecimal as bytes, the rest as text."""
    block = re.search(rf"^```example {name}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert block, name
    fields, label = {}, ""
    for line in block[1].splitlines():
        if not line.startswith(" "):
            label, _, line = line.partition(":")  # the rest of the line is the value
        fields[label] = fields.get(label, "") + line.strip()
    return {label: _value(text) for label, text in fields.items()}


def _value(text):
    if text.startswith('"'):
        assert text.endswith('"')
        return text[1:-1].encode()
    return bytes.fromhex(text) if re.fullmatch("[0-9a-f]+", text) else text


@pytest.fixture
def keys():
    return derive_volume_keys(CipherKind.AES_GCM, Secret.from_bytes(example("keys")["master key"]), has_hkdf=True)


@pytest.fixture
def names(keys):
    return NameCodec(name_cipher(keys.names_key), has_diriv=True, long_name_max=0, raw64=True)


@pytest.fixture
def content(keys):
    return content_cipher(CipherKind.AES_GCM, keys.content_key)


# --- worked example -----------------------------------------------------------------------------------------------


def documented_config():
    return re.search(r"^```json\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)[1].encode()


def test_example_keys_derive_from_each_other(keys):
    fields = example("keys")
    n, r, p = map(int, fields["scrypt N, R, P"].split(","))
    kek = scrypt(fields["password"], fields["salt"], n, r, p)
    assert bytes(kek.view()) == fields["kek"]
    assert bytes(hkdf_sha256(kek, spec.HKDF_INFO_AES_GCM, 32).view()) == fields["wrapping key"]
    assert bytes(keys.content_key.view()) == fields["content key"]
    assert bytes(keys.names_key.view()) == fields["names key"]


def test_example_config_is_what_the_code_writes_and_reads():
    fields = example("keys")
    master_key = Secret.from_bytes(fields["master key"])
    cfg = make_config(
        CreateOptions(log_n=10),
        fields["password"],
        master_key,
        salt=fields["salt"],
        nonce=fields["nonce"],
        creator="pcvfs 1.0",
    )
    assert serialize_config(cfg) == documented_config()
    assert cfg.encrypted_key == fields["nonce"] + fields["encrypted master key"] + fields["tag"]
    assert unwrap_master_key(parse_config(documented_config()), fields["password"]) == master_key


def test_example_name(names, keys):
    fields = example("name")
    diriv = decode_diriv(fields["directory IV"])
    assert pad(fields["name"]) == fields["padded"]
    assert name_cipher(keys.names_key).encrypt(diriv, fields["padded"]) == fields["encrypted"]
    assert names.encode(fields["name"], diriv).cname == fields["stored name"]
    assert names.decode(fields["stored name"], diriv) == fields["name"]


def test_example_long_name(names):
    fields = example("long name")
    stored = names.encode(b"x" * 200, DirIV(fields["directory IV"]))
    assert stored.long_name == fields["sidecar content"]
    assert stored.cname == fields["stored name"]
    assert hashlib.sha256(fields["sidecar content"]).digest() == fields["SHA-256"]
    assert sidecar_name(stored.cname) == fields["sidecar name"]


def test_example_content(content):
    fields = example("content")
    file_id = FileId(fields["file id"])
    block = fields["nonce"] + fields["ciphertext"] + fields["tag"]
    assert encode_header(file_id) == fields["header"]
    assert bytes(8) + file_id == fields["associated data"]
    assert content.seal_blocks(fields["plaintext"], 0, file_id, fields["nonce"]) == block
    assert content.open_blocks(block, 0, file_id) == fields["plaintext"]
    assert fields["header"] + block == fields["stored file"]
    assert BlockLayout(32).plain_to_cipher_size(len(fields["plaintext"])) == len(fields["stored file"])


def test_example_symlink(content):
    fields = example("symlink")
    assert content.open_blob(fields["blob"]) == fields["target"]
    assert encode_symlink(fields["target"], content, fields["nonce"], raw64=True) == fields["stored target"]
    assert decode_symlink(fields["stored target"], content, raw64=True) == fields["target"]


def test_example_attribute(content, keys):
    fields = example("attribute")
    codec = XattrNameCodec(name_cipher(keys.names_key), raw64=True)
    assert codec.encode(fields["name"]) == fields["stored name"]
    assert codec.decode(fields["stored name"]) == fields["name"]
    assert encode_xattr_value(fields["value"], content, fields["nonce"]) == fields["stored value"]
    assert decode_xattr_value(fields["stored value"], content, raw64=True) == fields["value"]


# --- tables -------------------------------------------------------------------------------------------------------


def test_table_of_sizes():
    for row in table("plaintext", "stored, overhead 32", "stored, overhead 40"):
        plain_size, *cipher_sizes = map(int, row)
        for overhead, cipher_size in zip((32, 40), cipher_sizes, strict=True):
            assert BlockLayout(overhead).plain_to_cipher_size(plain_size) == cipher_size
            assert BlockLayout(overhead).cipher_to_plain_size(cipher_size) == plain_size


def test_table_of_irregular_sizes():
    for row in table("stored", "why", "plaintext, overhead 32", "plaintext, overhead 40"):
        for overhead, plain_size in zip((32, 40), row[2:], strict=True):
            assert BlockLayout(overhead).cipher_to_plain_size(int(row[0])) == int(plain_size)


def test_table_of_overheads():
    rows = table("cipher", "stored block", "overhead")
    kinds = [CipherKind.AES_GCM, CipherKind.AES_SIV, CipherKind.XCHACHA20_POLY1305]
    assert [int(row[2]) for row in rows] == [kind.overhead for kind in kinds]
    assert [int(re.search(r"nonce \((\d+)\)", row[1])[1]) for row in rows] == [kind.nonce_size for kind in kinds]


def test_table_of_name_lengths(eme):
    for row in table("name", "padded", "stored, Raw64", "stored, padded base64"):
        length, padded, raw, with_padding = map(int, row)
        assert len(pad(b"x" * length)) == padded
        for raw64, expected in ((True, raw), (False, with_padding)):
            codec = NameCodec(eme, has_diriv=True, long_name_max=0, raw64=raw64)
            assert len(codec.encrypt_many([b"x" * length], DirIV(b"\1" * 16))[0]) == expected


def test_table_of_long_name_thresholds(eme):
    for row in table("LongNameMax", "longest plaintext name that is not hashed, Raw64"):
        long_name_max, longest = map(int, row)
        codec = NameCodec(eme, has_diriv=True, long_name_max=long_name_max, raw64=True)
        lengths = [n for n in range(1, 256) if codec.encode(b"x" * n, DirIV(b"\1" * 16)).long_name is None]
        assert max(lengths) == longest


def test_table_of_symlink_lengths():
    kinds = {
        "AES-GCM": CipherKind.AES_GCM,
        "AES-SIV": CipherKind.AES_SIV,
        "XChaCha20-Poly1305": CipherKind.XCHACHA20_POLY1305,
    }
    for labels, base64, longest in table("cipher", "base64", "longest target"):
        for kind in map(kinds.get, labels.split(", ")):
            cipher = content_cipher(kind, Secret(kind.key_size))
            nonce = b"\1" * kind.nonce_size
            assert encode_symlink(b"x" * int(longest), cipher, nonce, base64 == "Raw64")
            with pytest.raises(OSError, match="too long"):
                encode_symlink(b"x" * (int(longest) + 1), cipher, nonce, base64 == "Raw64")


def test_table_of_keys():
    infos = {row[0]: (row[1], row[2]) for row in table("key", "size", "with HKDF: info", "without")}
    assert infos["content, AES-GCM"] == ("32", spec.HKDF_INFO_AES_GCM.decode())
    assert infos["content, AES-SIV"] == ("64", spec.HKDF_INFO_AES_SIV.decode())
    assert infos["content, XChaCha20-Poly1305"] == ("32", spec.HKDF_INFO_XCHACHA.decode())
    assert infos["names, attribute names"] == ("32", spec.HKDF_INFO_NAMES.decode())
    assert infos["wrapping key"][1].startswith(spec.HKDF_INFO_AES_GCM.decode())


def test_table_of_flags_names_every_flag():
    cells = " ".join(row[0] for row in table("flag", "effect"))
    assert set(re.findall(r"\w+", cells)) == {flag.value for flag in FeatureFlag}


def test_table_of_config_members_is_in_writing_order():
    documented = [row[0] for row in table("member", "JSON type", "meaning")]
    config = re.findall(r'^\t"(\w+)"', documented_config().decode(), re.MULTILINE)
    assert [name for name in documented if name not in ("FIDO2", "LongNameMax")] == config
    assert documented[-2:] == ["FIDO2", "LongNameMax"]


def test_table_of_stored_names():
    stored = [row[0].encode() for row in table("stored name", "where", "what")]
    long_name = spec.LONG_NAME_PREFIX + b"HASH"
    assert stored == [spec.CONFIG_NAME, spec.DIRIV_NAME, long_name, long_name + spec.LONG_NAME_SUFFIX]


# --- references ---------------------------------------------------------------------------------------------------


def test_headings_that_the_code_refers_to_exist():
    headings = set(re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE))
    sources = [path for pattern in ("pcvfs/**/*.py", "native/*.[ch]", "native/*.py") for path in ROOT.glob(pattern)]
    references = {
        heading
        for path in sources
        if path.name != "_native_ffi.c"
        for quoted in re.findall(r'docs/format\.md,?((?: (?:and )?"[^"\n]+")+)', path.read_text())
        for heading in re.findall(r'"([^"]+)"', quoted)
    }
    assert len(references) > 10
    assert references <= headings
