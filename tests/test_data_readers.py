"""Tables as people have them: without a header, with quotes and tabs, as spreadsheets write them, and large."""

from __future__ import annotations

import csv
import gzip
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgedistill import data, plugins
from edgedistill.errors import ConfigError, DataError
from edgedistill.init import write_recipe
from edgedistill.spec import Data, Transfer


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def read(path: Path, *columns: str) -> list[tuple[int, dict[str, str]]]:
    return [(record.line, dict(record.values)) for record in data.read(path, columns=columns)]


def faults(path: Path, *columns: str) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(path, *columns)
    return [f"{fault.where.removeprefix(str(path))} | {fault.what} | {fault.hint}" for fault in caught.value.faults]


# ── files without a header ──


def test_csv_reads_every_line_as_a_row_when_columns_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", '"A plane; taking; off.",An air plane,5.0\nx,y,0\n')
    assert read(file, "a", "b", "score") == [
        (1, {"a": "A plane; taking; off.", "b": "An air plane", "score": "5.0"}),
        (2, {"a": "x", "b": "y", "score": "0"}),
    ]
    assert data.columns(file, names=("a", "b", "score")) == ["a", "b", "score"]


def test_csv_takes_the_delimiter_that_fits_the_names_when_another_is_more_frequent(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", "one, two, three;x\n"), "text", "label") == [(1, {"text": "one, two, three", "label": "x"})]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_table_names_the_line_when_the_names_do_not_fit(tmp_path: Path, name: str) -> None:
    mark = "\t" if name == "a.tsv" else ","
    found = faults(write(tmp_path / name, "a,b\nc\nd,e\nf,g,h\n".replace(",", mark)), "text", "label")
    assert [fault.split(" | ")[:2] for fault in found] == [
        [" line 2", "1 columns where `columns` names 2"],
        [" line 4", "3 columns where `columns` names 2"],
    ]


def test_csv_refuses_names_when_the_file_has_them_itself(tmp_path: Path) -> None:
    assert " line 1 | the first line is the names" in faults(write(tmp_path / "a.csv", "text,label\na,b\n"), "text", "label")[0]


@pytest.mark.parametrize(("names", "what"), [(("a", "a"), "names 'a' twice"), (("a", " "), "an empty name")])
def test_names_are_refused_when_they_are_not_distinct(tmp_path: Path, names: tuple[str, ...], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        data.read(write(tmp_path / "a.csv", "1,2\n"), columns=names)


def test_names_are_refused_when_the_format_has_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names its columns itself") as caught:
        data.read(write(tmp_path / "a.jsonl", '{"a": 1}\n'), columns=("a",))
    assert "take `columns` out" in caught.value.hint


def test_txt_parts_at_the_first_blanks_when_columns_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "1 a fine  film\n\n0\n0\tdull , long \n")
    assert read(file, "label", "text") == [
        (1, {"label": "1", "text": "a fine  film"}),
        (3, {"label": "0", "text": ""}),
        (4, {"label": "0", "text": "dull , long "}),
    ]
    assert read(file, "text")[0] == (1, {"text": "1 a fine  film"})


def test_txt_parts_at_tabs_when_the_first_line_has_them(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "I see.\tJag ser.\nGo.\tGå.\nlost\n")
    assert faults(file, "en", "sv") == [" line 3 | 1 parts where `columns` names 2 | parts are separated by tabs, as on the first line"]
    assert next(data.read(file, columns=("en", "sv"))).values == {"en": "I see.", "sv": "Jag ser."}


def test_rows_honour_the_names_when_the_recipe_gives_them(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "1 good\n0 bad\n")
    assert list(data.labelled(file, Data(source="a", columns=("label", "text")))) == [(1, "good", "1"), (2, "bad", "0")]


# ── tabs and quotes ──


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tsv_reads_what_excel_writes_when_fields_hold_tabs_and_lines(tmp_path: Path, end: str) -> None:
    written = [("a\tb", "x", "1"), ('say "hi"', "y", "2"), (f"two{end}lines", "z", "3"), ("z", "last", f"a\t{end}b"), ("", "", "")]
    with (tmp_path / "plain").open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, dialect="excel-tab", lineterminator=end).writerows([("text", "label", "n"), *written])
    found = read(write(tmp_path / "a.tsv", (tmp_path / "plain").read_bytes()))
    assert [tuple(values.values()) for _, values in found] == [tuple(field.replace("\r\n", "\n") for field in row) for row in written]
    assert [line for line, _ in found] == [2, 3, 4, 6, 8]


def test_tsv_keeps_quotes_when_they_frame_no_field(tmp_path: Path) -> None:
    content = 'text\tlabel\n"hello" he said\tx\n6" wide\ty\n"open\tz\nit closes"\tx\n"both" ends "\ty\n"framed"\tz\n"\tx\n'
    assert [values["text"] for _, values in read(write(tmp_path / "a.tsv", content))] == [
        '"hello" he said',
        '6" wide',
        '"open',
        'it closes"',
        '"both" ends "',
        "framed",
        '"',
    ]


def test_tsv_parts_quotes_at_tabs_when_only_that_gives_the_columns(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.tsv", 'a\tb\tc\n"x\ty"\tz\n')) == [(2, {"a": '"x', "b": 'y"', "c": "z"})]


def test_tsv_names_the_line_when_a_quote_swallows_no_row(tmp_path: Path) -> None:
    found = faults(write(tmp_path / "a.tsv", 'a\tb\n"never closed\nx\ty\n' + "p\tq\n" * 300))
    assert [fault.split(" | ")[:2] for fault in found] == [[" line 2", "1 columns where the header has 2"]]


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_tsv_reads_as_csv_does_when_a_quoted_field_holds_tabs_and_lines_at_once(tmp_path: Path, name: str) -> None:
    content = 'text\tlabel\n"a fine film\tand\nmore"\tgood\nbad one\tbad\n"a\t""\nb"\tgood\n"a\t"""\tgood\nlast\tbad\n'
    assert read(write(tmp_path / name, content)) == [
        (2, {"text": "a fine film\tand\nmore", "label": "good"}),
        (4, {"text": "bad one", "label": "bad"}),
        (5, {"text": 'a\t"\nb', "label": "good"}),
        (7, {"text": 'a\t"', "label": "good"}),
        (8, {"text": "last", "label": "bad"}),
    ]


@pytest.mark.parametrize("proof", ['5" screen\tgood', '"so" he said\tbad', '"never closed\tbad'])
def test_tsv_keeps_lines_apart_when_another_quote_shows_that_no_csv_writer_wrote_it(tmp_path: Path, proof: str) -> None:
    content = f'text\tlabel\n"it opens\tgood\nit closes"\tbad\nplain\tgood\n{proof}\n'
    found = [tuple(values.values()) for _, values in read(write(tmp_path / "a.tsv", content))]
    assert found == [('"it opens', "good"), ('it closes"', "bad"), ("plain", "good"), tuple(proof.split("\t"))]


# ── long fields and quotes that are never closed ──

LONG = 200_001  # more than the 131,072 characters that Python's csv module allows by itself


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\n{long},x\nb,y\n"),
        ("a.csv", 'text,label\n"{long}",x\n"b",y\n'),
        ("a.csv.gz", "text;label\n{long};x\nb;y\n"),
        ("a.tsv", "text\tlabel\n{long}\tx\nb\ty\n"),
        ("a.tsv", 'text\tlabel\n"{long}"\tx\nb\ty\n'),
        ("a.jsonl", '{{"text": "{long}", "label": "x"}}\n{{"text": "b", "label": "y"}}\n'),
        ("a.txt", "{long}\tx\nb\ty\n"),
        ("a.conll", "{long}\tx\n\nb\ty\n"),
    ],
)
def test_field_is_read_whole_when_it_is_longer_than_pythons_limit(tmp_path: Path, name: str, content: str) -> None:
    file = write(tmp_path / name, content.format(long="ö" * LONG))
    names = ("text", "label") if name == "a.txt" else ()
    found = [list(values.values()) for _, values in read(file, *names)]
    assert [[len(value) for value in row] for row in found] == ([[LONG + 4, 5], [5, 5]] if name == "a.conll" else [[LONG, 1], [1, 1]])
    assert csv.field_size_limit() == 131_072  # the process's own limit is as it was


def test_init_guesses_the_task_when_a_field_is_longer_than_pythons_limit(tmp_path: Path) -> None:
    rows = "".join(f"{'fine film ' * (LONG // 10) if index == 7 else 'a good one'} {index},{'good' if index % 2 else 'bad'}\n" for index in range(80))
    assert 'task = "text-classification"' in write_recipe(write(tmp_path / "a.csv", "text,label\n" + rows), tmp_path / "recipe.toml").read_text()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tsv_reads_a_quoted_field_of_any_number_of_lines_when_a_csv_writer_wrote_the_file(tmp_path: Path, end: str) -> None:
    written = [['line "one"\n' * 300, "good"], ["plain", "bad"], ["\tend\n" * 150, "good"]]
    with (tmp_path / "plain").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, dialect="excel-tab", lineterminator=end).writerows([("text", "label"), *written])
    found = read(write(tmp_path / "a.tsv", (tmp_path / "plain").read_bytes()))
    assert [(line, list(values.values())) for line, values in found] == [(2, written[0]), (303, written[1]), (304, written[2])]


@pytest.mark.parametrize(
    ("content", "line", "what", "hint"),
    [
        ('a,b\n1,"open\n' + "fine,x\n" * 30_000, 2, "unexpected end of data", "a quote that opens here is never closed"),
        ('a,b\n1,"open\n' + "fine,x\n" * 300 + 'he said "no",x\n', 2, "',' expected after '\"'", "answered 301 lines further down"),
        ('a,b\n"open,2\n' + "fine,x\n" * 300 + 'it closes",x,y\n', 2, "3 columns", "answered 301 lines further down"),
        ('a,b\n1,"open\nfine",x,y\n', 2, "4 columns", "quote a field that holds the delimiter"),
    ],
    ids=["to the end", "to a quote in a text", "to a quote at a field's end", "two lines are no sign of it"],
)
def test_csv_tells_of_the_quote_when_it_swallows_many_lines(tmp_path: Path, content: str, line: int, what: str, hint: str) -> None:
    (found, *_) = faults(write(tmp_path / "a.csv", content))
    assert f" line {line} | " in found
    assert what in found
    assert hint in found


@pytest.mark.parametrize(("text", "hint"), [("y" * 3_000, "cut it up"), ("y\n" * 1_500, "never closed")])
def test_csv_bounds_a_field_when_it_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, hint: str) -> None:
    monkeypatch.setattr(plugins.load("data", "csv"), "LONGEST", 2_000)
    (found, *_) = faults(write(tmp_path / "a.csv", f'a,b\n1,"{text}"\n'))
    assert " line 2 | broken row: field larger than field limit (2000)" in found
    assert hint in found


# ── what people have ──


def test_excel_export_reads_when_it_has_a_mark_semicolons_and_crlf(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", '\ufeffText;Label\r\n komma, hier ; Sehr Gut \r\n"a;\r\nb";Nicht Gut\r\n')
    spec = Data(source="a", text="Text", label="Label")
    assert list(data.labelled(file, spec)) == [(2, "komma, hier", "Sehr Gut"), (3, "a;\r\nb", "Nicht Gut")]


def test_excel_export_reads_when_its_first_line_names_the_separator(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", "sep=;\r\na,b;c\r\n1,5;2\r\n")) == [(3, {"a,b": "1,5", "c": "2"})]


def test_labels_are_kept_exactly_when_they_have_spaces_and_capitals(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"text": "a", "label": " Very Good "}\n{"text": "b", "label": "very good"}\n')
    assert [label for _, _, label in data.labelled(file, Data(source="a"))] == ["Very Good", "very good"]


@pytest.mark.parametrize("task", ["text-regression", "sentence-embedding"])
def test_column_is_named_once_with_the_way_out_when_its_numbers_have_commas(tmp_path: Path, task: str) -> None:
    module = plugins.load("tasks", task)
    file = write(tmp_path / "a.csv", "text;preis\na;12\n" + "b;14,71\n" * 30)

    def make(line: int, values: Mapping[str, Any]) -> Iterator[float]:
        yield module.target(values["label"], {}, Data(source="a", label="preis"))

    with pytest.raises(DataError) as caught:
        list(data.made(file, Data(source="a"), {"text": "text", "label": "preis"}, make))
    (fault,) = caught.value.faults
    assert fault.where == f"{file} line 3"
    assert fault.what == "'14,71' in column 'preis' has a comma, where a number has a point: 14.71"
    assert "decimal=','" in fault.hint


def test_column_is_named_when_a_label_is_no_number() -> None:
    with pytest.raises(ValueError, match=r"'1\.234,5' in column 'score' is no number"):
        plugins.load("tasks", "text-regression").target("1.234,5", {}, Data(source="a"))


def test_empty_texts_are_skipped_and_listed_when_they_are_one_in_a_hundred(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", "text\tlabel\n" + "".join(f"{'' if index % 100 == 50 else 'fine'}\tx\n" for index in range(1_000)))
    skipped: list[str] = []
    assert len(list(data.labelled(file, Data(source="a"), skipped))) == 990
    assert len(skipped) == 10
    assert skipped[0] == f"{file} line 52: empty text"


def test_rows_give_each_role_and_the_record_when_some_are_optional(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "q,a,n,more\n x ,,1,m\n,b,2,m\n" + "x,b,3,m\n" * 30)
    skipped: list[str] = []
    found = list(data.rows(file, Data(source="a"), {"text": "q", "pair": "a"}, skipped, optional=("pair",)))
    assert [(line, values) for line, values, _ in found[:2]] == [(2, {"text": "x", "pair": ""}), (4, {"text": "x", "pair": "b"})]
    assert found[0][2].values == {"q": " x ", "a": "", "n": "1", "more": "m"}
    assert skipped == [f"{file} line 3: empty text"]


def test_rows_miss_an_optional_column_only_when_no_row_has_it(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b", "pair": "c"}\n')
    found = data.rows(file, Data(source="a"), {"text": "text", "pair": "pair"}, optional=("pair",))
    assert [values for _, values, _ in found] == [{"text": "a", "pair": ""}, {"text": "b", "pair": "c"}]
    with pytest.raises(DataError, match="line 2: no column 'pairs', in this row or any before") as caught:
        list(data.rows(file, Data(source="a"), {"text": "text", "pair": "pairs"}, optional=("pair",)))
    assert "did you mean 'pair'?" in caught.value.hint


def test_unlabelled_holds_no_file_when_it_is_large(tmp_path: Path) -> None:
    line, count = b"many words " * 1_000 + b"\n", 20_000  # 220 MB of text
    with gzip.open(tmp_path / "a.txt.gz", "wb", compresslevel=1) as stream:
        for _ in range(count):
            stream.write(line)
    tracemalloc.start()
    rows = sum(1 for _ in data.unlabelled(tmp_path / "a.txt.gz", Transfer(source="a")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == count
    assert peak < 2_000_000
