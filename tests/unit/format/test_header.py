import pytest

from pcvfs import spec
from pcvfs.errors import HeaderError
from pcvfs.format.header import decode_header, encode_header
from pcvfs.types import FileId

FILE_ID = FileId(bytes(range(16)))


def test_encode_header_writes_version_then_file_id():
    assert encode_header(FILE_ID) == bytes.fromhex("0002 000102030405060708090a0b0c0d0e0f")


def test_decode_header_returns_what_was_encoded():
    assert decode_header(encode_header(FILE_ID)) == FILE_ID


@pytest.mark.parametrize("file_id", [b"", bytes(15), b"x" * 17, bytes(16)])
def test_encode_header_unreadable_file_id_raises(file_id):
    with pytest.raises(ValueError, match="file id"):
        encode_header(FileId(file_id))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (encode_header(FILE_ID)[:-1], "17 bytes"),
        (encode_header(FILE_ID) + b"\0", "19 bytes"),
        (bytes(spec.HEADER_SIZE), "version 0"),
        (b"\0\1" + FILE_ID, "version 1"),
        (b"\2\0" + FILE_ID, "version 512"),
        (b"\0\2" + bytes(16), "all zero"),
    ],
)
def test_decode_header_not_a_header_raises(data, message):
    with pytest.raises(HeaderError, match=message):
        decode_header(data)
