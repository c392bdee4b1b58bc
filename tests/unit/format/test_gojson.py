"""What is accepted and what not was compared with gocryptfs 2.3 (``-info`` on a config with each change)."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.errors import ConfigError
from pcvfs.format.gojson import parse_object, write_object

SIZE_MAX = 100_000


def parse(text):
    return parse_object(text if isinstance(text, bytes) else text.encode(), SIZE_MAX)


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["Salt", "salt", "SALT", "sAlT", "\u017falt", "\\u0053alt"])
def test_keys_match_without_regard_to_case(key):
    assert parse(f'{{"{key}": "x"}}').text("Salt") == "x"


def test_keys_fold_as_unicode_does_one_to_one():
    assert parse('{"\u212aey": "x"}').text("Key") == "x"
    assert parse('{"\u00dfalt": "x", "sSalt": "y"}').text("SSalt") == "y"


@pytest.mark.parametrize("key", ["Salt ", "Sal", "Salt\\u0000", "S\u00e4lt"])
def test_other_keys_do_not_match(key):
    assert parse(f'{{"{key}": "x"}}').text("Salt") == ""


def test_last_duplicate_wins_whatever_its_case():
    obj = parse('{"N": 1, "n": 2, "S": "a", "s": "b", "L": ["x"], "l": ["y"], "D": "QQ==", "d": "Qg=="}')
    assert obj.integer("N", 0, 9) == 2
    assert obj.text("S") == "b"
    assert obj.texts("L") == ("y",)
    assert obj.data("D") == b"B"


def test_duplicate_of_another_type_raises_though_replaced():
    with pytest.raises(ConfigError, match="field N is 'x'"):
        parse('{"N": "x", "N": 1}').integer("N", 0, 9)


def test_null_leaves_scalars_alone_and_clears_lists():
    obj = parse('{"N": 1, "N": null, "S": "a", "S": null, "L": ["x"], "L": null, "D": "QQ==", "D": null}')
    assert obj.integer("N", 0, 9) == 1
    assert obj.text("S") == "a"
    assert obj.texts("L") is None
    assert obj.data("D") == b""


def test_child_duplicates_are_merged_and_null_is_told_apart():
    obj = parse('{"C": {"N": 1, "S": "a"}, "c": {"n": 2}, "C": null}')
    merged = obj.child("C", null_clears=False)
    assert merged is not None
    assert (merged.integer("N", 0, 9), merged.text("S")) == (2, "a")
    assert obj.child("C", null_clears=True) is None
    assert obj.child("other", null_clears=False) is None


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("7", 7), ("255", 255)])
def test_integer_in_range(text, value):
    assert parse(f'{{"N": {text}}}').integer("N", 0, 255) == value


def test_integer_negative_zero_is_for_signed_fields_only():
    assert parse('{"N": -0}').integer("N", -9, 9) == 0
    with pytest.raises(ConfigError, match="field N is -0"):
        parse('{"N": -0}').integer("N", 0, 9)


@pytest.mark.parametrize("text", ["1.0", "1e0", "1E3", "0.5", '"1"', "true", "[1]", "{}", "256", "-1", "9" * 5000])
def test_integer_other_values_raise(text):
    with pytest.raises(ConfigError, match=r"field N is .* expected a whole number"):
        parse(f'{{"N": {text}}}').integer("N", 0, 255)


@pytest.mark.parametrize("text", ["1", "true", '["x"]', "{}"])
def test_text_other_types_raise(text):
    with pytest.raises(ConfigError, match=r"field S is .* expected a string"):
        parse(f'{{"S": {text}}}').text("S")


@pytest.mark.parametrize(
    ("text", "value"),
    [("QUI=", b"AB"), ("QUI\\n=", b"AB"), ("Q\\rUI=", b"AB"), ("QUJ=", b"AB"), ("", b""), ("+/8=", b"\xfb\xff")],
)
def test_data_reads_base64_as_go_does(text, value):
    # Line breaks and stray bits are fine for Go.
    assert parse(f'{{"D": "{text}"}}').data("D") == value


@pytest.mark.parametrize(
    "text", ['"QUI"', '"Q UI="', '"-_8="', '"QUI=="', '"QUI=QUI="', '"\\u00e4"', "1", "[65]", "{}"]
)
def test_data_other_values_raise(text):
    with pytest.raises(ConfigError, match=r"field D is .*base64"):
        parse(f'{{"D": {text}}}').data("D")


@pytest.mark.parametrize("text", ['"x"', "1", "{}", "[1]", '["x", null]', '["x", ["y"]]'])
def test_texts_other_values_raise(text):
    with pytest.raises(ConfigError, match=r"field L is .* expected a list of strings"):
        parse(f'{{"L": {text}}}').texts("L")


def test_texts_absent_differs_from_empty():
    assert parse("{}").texts("L") is None
    assert parse('{"L": []}').texts("L") == ()


@pytest.mark.parametrize("text", ["1", '"x"', "[]", "true"])
def test_child_other_types_raise(text):
    with pytest.raises(ConfigError, match=r"field C is .* expected an object"):
        parse(f'{{"C": {text}}}').child("C", null_clears=True)


def test_messages_name_the_path_and_do_not_grow_with_the_value():
    child = parse(json.dumps({"C": {"N": "x" * 1000}})).child("C", null_clears=True)
    assert child is not None
    with pytest.raises(ConfigError, match=r"field C\.N is 'xxx") as caught:
        child.integer("N", 0, 9)
    assert len(caught.value.message) < 200
    assert caught.value.hint


@pytest.mark.parametrize("text", ["[1e999]", '{"x": [{}]}', "-1e-9", "12345678901234567890123", '"\\ud800"', "null"])
def test_unknown_members_may_hold_anything(text):
    assert parse(f'{{"other": {text}, "N": 3}}').integer("N", 0, 9) == 3


def test_text_lone_surrogates_and_broken_utf8_become_replacement_characters():
    assert parse('{"S": "\\ud800x\\ud83d\\ude00"}').text("S") == "\ufffdx\U0001f600"
    assert parse(b'{"S": "\xffx"}').text("S") == "\ufffdx"


# --- documents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n\t\r", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "byte order mark"),
        ("{}".encode("utf-16-le"), "NUL"),
        (b"{}\0", "NUL"),
        (b"{} {}", "not JSON: extra data, line 1 column 4"),
        (b"{}\x0c", "not JSON"),
        (b"\x0b{}", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": +1}', "not JSON"),
        (b'{"a": .5}', "not JSON"),
        (b'{"a": NaN}', "NaN is not"),
        (b'{"a": Infinity}', "Infinity is not"),
        (b'{"a": -Infinity}', "-Infinity is not"),
        (b'{"a": "\x01"}', "not JSON"),
        (b'{"a": "\t"}', "not JSON"),
        (b'{"a": "\\x"}', "not JSON"),
        (b'{"a": "\\u+123"}', "not JSON"),
        (b'{"a"\xff: 1}', "not JSON"),
        (b"{} // comment", "not JSON"),
        (b"null", "is null, expected an object"),
        (b"[]", "is a list, expected an object"),
        (b'"x"', "is 'x', expected an object"),
        (b"1", "is 1, expected an object"),
        (b" " * SIZE_MAX + b"{}", "more than"),
        (b"[" * 50_000, "nested too deep"),
        (b'{"a":' * 20_000, "nested too deep"),
    ],
)
def test_parse_not_a_config_raises(data, message):
    with pytest.raises(ConfigError, match=message):
        parse(data)


def test_parse_white_space_around_is_fine():
    assert parse(b' \t\r\n{"N": 1}\n\r\t ').integer("N", 0, 9) == 1


@given(st.binary(max_size=200))
def test_parse_any_bytes_give_an_object_or_config_error(data):
    with suppress(ConfigError):
        assert parse(data).text("missing") == ""


# --- writing ------------------------------------------------------------------------------------------------------


def test_write_object_layout_is_that_of_go():
    written = write_object({"S": "x", "D": b"AB", "N": 1, "L": ["a", "b"], "E": [], "Z": None, "C": {"D": b"", "M": 2}})
    assert written.decode() == (
        '{\n\t"S": "x",\n\t"D": "QUI=",\n\t"N": 1,\n\t"L": [\n\t\t"a",\n\t\t"b"\n\t],\n\t"E": [],\n\t"Z": null,\n'
        '\t"C": {\n\t\t"D": "",\n\t\t"M": 2\n\t}\n}\n'
    )


def test_write_object_escapes_as_go_does():
    # As written by gocryptfs 2.3 -passwd for a config with this Creator.
    creator = '<>&\u2028\u2029\b\f\t\n\r\x01\x7f"\\/\u00e9\U0001f600\ud800'
    assert write_object({"S": creator}).decode() == (
        '{\n\t"S": "\\u003c\\u003e\\u0026\\u2028\\u2029\\u0008\\u000c\\t\\n\\r\\u0001'
        '\x7f\\"\\\\/\u00e9\U0001f600\ufffd"\n}\n'
    )


@given(st.text(max_size=50), st.binary(max_size=50), st.lists(st.text(max_size=5), max_size=4))
def test_written_values_are_read_back(text, data, texts):
    obj = parse(write_object({"S": text, "D": data, "L": texts}))
    assert (obj.text("S"), obj.data("D"), obj.texts("L")) == (text, data, tuple(texts))
