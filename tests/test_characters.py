"""Text at the borders: bytes that are none, halves of characters, what would break a line of output, and encodings that lack a letter."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from edgedistill import characters, config, data
from edgedistill.errors import ConfigError, DataError
from edgedistill.faces import bundle as face
from edgedistill.foreign import run as foreign
from edgedistill.init import write_recipe


def smuggled(raw: bytes) -> str:
    """Bytes as Python gives them in sys.argv."""
    return raw.decode("ascii", "surrogateescape")


# ── in ──


@pytest.mark.parametrize("text", ["", "plain", "日本 🙂", "é", "a\0b"])
def test_argument_is_itself_when_it_is_text(text: str) -> None:
    assert characters.argument(text) == text


@pytest.mark.parametrize("text", ["日本 🙂", "é"])
def test_argument_is_read_as_utf8_when_the_locale_could_not(text: str) -> None:
    assert characters.argument(smuggled(text.encode())) == text


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"caf\xe9 good", "not UTF-8: byte 0xe9 at offset 3; it reads as latin1"),
        (b"\x93quoted\x94", "not UTF-8: byte 0x93 at offset 0; it reads as cp1252"),
        ("é".encode() + b" \xff", "not UTF-8: byte 0xff at offset 3; it reads as latin1"),  # é has two bytes
    ],
)
def test_argument_is_refused_with_the_byte_when_it_is_another_encoding(raw: bytes, wanted: str) -> None:
    with pytest.raises(ValueError, match="not UTF-8") as caught:
        characters.argument(smuggled(raw))
    assert str(caught.value) == wanted


def test_argument_is_refused_when_it_has_half_a_character() -> None:
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        characters.argument("\ud800")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("\ud83d", True), ({"a": ["x", "\udc00"]}, True), ({"\ud800": 1}, True), ("🙂", False), ({"a": [1, None, "日本"]}, False), (b"\xff", False)],
)
def test_half_is_found_when_it_is_anywhere_in_a_value(value: object, expected: bool) -> None:
    assert characters.is_halved(value) is expected


def test_standard_input_names_every_line_and_byte_when_some_are_not_utf8() -> None:
    with pytest.raises(DataError) as caught:
        face.lines(io.BytesIO(b"good\ncaf\xe9\r\nfine\nna\xefve\n"))
    assert [(fault.where, fault.what) for fault in caught.value.faults] == [
        ("standard input line 2", "not UTF-8: byte 0xe9 at offset 8; it reads as latin1"),
        ("standard input line 4", "not UTF-8: byte 0xef at offset 18; it reads as latin1"),
    ]
    assert caught.value.faults[0].hint == "iconv -f latin1 -t utf-8 FILE | edgedistill predict BUNDLE"


def test_standard_input_is_read_as_files_are_when_it_has_a_mark() -> None:
    assert face.lines(io.BytesIO("\ufeffé\r\nb\0c\n\nlast".encode())) == ["é", "b\0c", "", "last"]
    with pytest.raises(DataError, match="standard input line 1: not UTF-8: byte 0xff at offset 0; it reads as utf-16"):
        face.lines(io.BytesIO("é\n".encode("utf-16")))


def test_standard_input_is_refused_in_a_sentence_when_it_is_a_folder(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with Path(os.devnull).open("rb") as stream:
        os.dup2(folder, stream.fileno())  # as a shell does for `< folder`
        os.close(folder)
        with pytest.raises(DataError, match="standard input cannot be read: Is a directory"):
            face.lines(stream)


def test_setting_is_refused_when_it_is_not_utf8() -> None:
    with pytest.raises(ConfigError, match=r"--set task=.*: not UTF-8: byte 0xe9 at offset 8"):
        config.load_recipe("default", [smuggled(b"task=caf\xe9")])


def test_squad_names_the_question_when_it_has_half_a_character(tmp_path: Path) -> None:
    question = {"id": "1", "question": "who \ud800?", "answers": [{"text": "Ann", "answer_start": 0}]}
    document = {"data": [{"title": "t", "paragraphs": [{"context": "Ann was.", "qas": [question]}]}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"question 1: .*half of a surrogate pair"):
        list(data.read(tmp_path / "a.json"))


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder whose name is latin1, where the file system has such names."""
    place = tmp_path / smuggled(b"caf\xe9")
    try:
        place.mkdir()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    return place


def test_names_that_are_not_utf8_are_told_when_something_is_called_by_them(odd: Path) -> None:
    (odd.parent / "ok").mkdir()
    for place in (odd, odd.parent / "ok"):
        (place / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"the class folder 'caf\\udce9' has a name that is not UTF-8"):
        list(data.read(odd.parent))
    recipe = odd.parent / f"{odd.name}.toml"
    recipe.write_text("[data]\n")
    with pytest.raises(ConfigError, match="its name is not UTF-8, and what is in it is called by it"):
        config.load_recipe(str(recipe))
    rows = odd / f"{odd.name}.csv"
    rows.write_text("text,label\n" + "".join(f"fine {index},{index % 2}\n" for index in range(60)))
    with pytest.raises(ConfigError, match=r"\.csv: its name is not UTF-8, which a recipe has to be"):
        write_recipe(rows, odd.parent / "made.toml")
    assert not (odd.parent / "made.toml").exists()
    model = odd / "model.onnx"
    model.write_bytes(b"x")
    with pytest.raises(ConfigError, match="its name is not UTF-8, which ONNX's own tools cannot open"):
        foreign.quantize(asked(model, odd / "out"), print)


def asked(model: Path, out: Path) -> foreign.Asked:
    target = config.load_target("linux-x64")
    return foreign.Asked(model=model, target=target, out=out, calibration=None, scheme=None, rows=256, shapes={}, store=out.with_name("store"))


# ── out ──


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain 日本 🙂 \N{ZERO WIDTH JOINER}", "plain 日本 🙂 \N{ZERO WIDTH JOINER}"),
        ("a\nb\tc\\d\r", r"a\nb\tc\\d\r"),
        ("\x1b[31m\0\x7f\x85\u2028", r"\x1b[31m\x00\x7f\x85\u2028"),
    ],
)
def test_field_is_one_piece_of_one_line_when_escaped(text: str, wanted: str) -> None:
    assert characters.escaped(text) == wanted
    if "日" not in text:
        assert wanted.encode().decode("unicode_escape") == text  # Python's own reading of escapes gives the text back


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
@pytest.mark.parametrize("text", ["é", "日本 🙂", "\udce9"])
def test_json_is_the_same_document_when_the_encoding_lacks_its_letters(encoding: str, text: str) -> None:
    written = characters.json_text({"a": text}, encoding).encode(encoding)
    assert json.loads(written.decode(encoding)) == {"a": text}
    assert (b"\\u" in written) is (encoding == "ascii" or (encoding == "cp1252" and text != "é") or text == "\udce9")
