"""The readers, against files written by hand and by other libraries; every fault with its line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgedistill import data, plugins
from edgedistill.errors import ConfigError, DataError
from edgedistill.spec import Data, Transfer

READERS = plugins.names("data")
assert len(READERS) >= 6
needs_arrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
needs_datasets = pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
ROWS = [("card lost", "card"), ('say "hi", now', "talk"), ("två\nrader", "talk"), ("日本語 🙂", "card")]


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def rows(path: Path, **options: str) -> list[tuple[int, dict[str, str]]]:
    return [(record.line, dict(record.values)) for record in data.read(path, **options)]


def faults(path: Path, kind: type[ConfigError] = DataError) -> list[str]:
    with pytest.raises(kind) as caught:
        rows(path)
    return [f"{fault.where} | {fault.what} | {fault.hint}" for fault in caught.value.faults]


# ── the family ──


@pytest.mark.parametrize("name", READERS)
def test_reader_has_the_face_of_its_family(name: str) -> None:
    module = plugins.load("data", name)
    assert callable(module.records)
    assert isinstance(module.EXTENSIONS, tuple)
    assert module.UNIT in ("line", "row", "question", "image")
    assert module.__doc__


def test_extensions_belong_to_one_reader_each() -> None:
    listed = [extension for name in READERS for extension in plugins.load("data", name).EXTENSIONS]
    assert len(listed) == len(set(listed)) >= 6
    assert data.extensions() == {extension: name for name in READERS for extension in plugins.load("data", name).EXTENSIONS}


def test_read_names_the_known_extensions_when_unknown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no reader for '\.cvs'") as caught:
        data.read(write(tmp_path / "a.cvs.gz", "x"))
    assert "did you mean '.csv'?" in caught.value.hint
    assert ".parquet" in caught.value.hint


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt", "a.csv.gz"])
def test_read_refuses_when_file_is_empty(tmp_path: Path, name: str) -> None:
    assert "empty" in faults(write(tmp_path / name, ""))[0] or name.endswith(".gz")
    assert "no rows" in faults(write(tmp_path / name, "\n\n"))[0]


def test_importing_and_digesting_bring_no_heavy_library(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "a\n1\n")
    code = (
        "import sys; from pathlib import Path; from edgedistill import data; import edgedistill.init\n"
        f"data.digest(Path({str(file)!r})); list(data.read(Path({str(file)!r}))); data.digest('hub:a/b@' + '0' * 40)\n"
        "assert not {'torch', 'pyarrow', 'datasets', 'transformers', 'pandas', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


# ── csv and tsv ──


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv_reads_what_the_csv_module_wrote(tmp_path: Path, delimiter: str, end: str, suffix: str) -> None:
    plain = tmp_path / "plain"
    with plain.open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, delimiter=delimiter, lineterminator=end).writerows([("text", "label"), *ROWS])
    found = rows(write(tmp_path / f"a{suffix}", plain.read_bytes()))
    assert [tuple(values.values()) for _, values in found] == ROWS
    assert [list(values) for _, values in found] == [["text", "label"]] * 4
    assert [line for line, _ in found] == [2, 3, 4, 6]  # the third row spans lines 4 and 5


def test_csv_line_counts_blank_lines_and_quoted_headers(tmp_path: Path) -> None:
    found = rows(write(tmp_path / "a.csv", '\n"a,x"; b \n\n  \n1;2\n'))
    assert found == [(5, {"a,x": "1", "b": "2"})]


def test_tsv_keeps_commas_when_header_has_them(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.tsv", "a,b,c\td\n1,2\t3\n")) == [(2, {"a,b,c": "1,2", "d": "3"})]


def test_csv_names_every_line_when_columns_differ(tmp_path: Path) -> None:
    found = faults(write(tmp_path / "a.csv", "a,b\n1,2\n1\n1,2,3\n4,5\n"))
    assert [fault.split(" | ")[:2] for fault in found] == [
        [f"{tmp_path}/a.csv line 3", "1 columns where the header has 2"],
        [f"{tmp_path}/a.csv line 4", "3 columns where the header has 2"],
    ]


def test_csv_stops_at_ten_when_all_rows_are_wrong(tmp_path: Path) -> None:
    assert len(faults(write(tmp_path / "a.csv", "a,b\n" + "1\n" * 50))) == 10


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ('a,b\n1,2\n"x"y,2\n3,4\n', 3, "broken row"),
        ('a,b\n1,2\n3,4\n5,"open\n6,7\n', 4, "broken row"),
        ("a,b\r1,2\r3,4\r", 1, "broken row"),
        ("a,b,a\n1,2,3\n", 1, "names a column twice: 'a'"),
    ],
    ids=["text after quote", "open quote", "carriage returns", "column twice"],
)
def test_csv_names_the_line_when_broken(tmp_path: Path, content: str, line: int, what: str) -> None:
    found = faults(write(tmp_path / "a.csv", content))
    assert f"a.csv line {line} " in found[0]
    assert what in found[0]
    assert not found[0].endswith("| ")  # with a hint


# ── encodings and gzip ──


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.txt", "a.jsonl"])
@pytest.mark.parametrize(("encoding", "word"), [("latin1", "café"), ("cp1252", "“quoted”")])
def test_read_names_line_offset_and_encoding_when_not_utf8(tmp_path: Path, name: str, encoding: str, word: str) -> None:
    before = b'{"text": "a"}\n{"text": "b"}\n'
    found = faults(write(tmp_path / name, before + word.encode(encoding) + b"\n"))
    at = len(before) + next(index for index, letter in enumerate(word) if ord(letter) > 127)
    assert f"{name} line 3 | not UTF-8" in found[0]
    assert f"at offset {at}; it reads as {encoding}" in found[0]
    assert f"iconv -f {encoding} -t utf-8" in found[0]


def test_read_names_every_line_when_several_are_not_utf8(tmp_path: Path) -> None:
    found = faults(write(tmp_path / "a.csv", b"text,label\n\xe9,a\nfine,b\n\xe8,c\n"))
    assert ["line 2" in found[0], "line 4" in found[1], len(found)] == [True, True, 2]


def test_read_refuses_header_when_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        data.columns(write(tmp_path / "a.csv", "catégorie,text\na,b\n".encode("latin1")))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16le", "utf-16be", "utf-32"])
def test_read_names_wide_encoding_when_it_is_one(tmp_path: Path, encoding: str) -> None:
    assert f"it reads as {encoding} |" in faults(write(tmp_path / "a.csv", "text,label\na,b\n".encode(encoding)))[0]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.txt.gz"])
def test_read_names_the_line_when_gzip_is_cut(tmp_path: Path, name: str) -> None:
    whole = gzip.compress("".join(f'"{index}"\n' for index in range(50_000)).encode())
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="line") as caught:
        rows(tmp_path / name)
    if not name.startswith("a.jsonl"):  # where the lines themselves are faults too
        assert "broken gzip" in str(caught.value)
        assert int(caught.value.faults[0].where.rsplit(" ", 1)[1]) > 1000


def test_read_refuses_when_gz_is_no_gzip(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_text("text,label\na,b\n")
    assert "line 1 | broken gzip" in faults(tmp_path / "a.csv.gz")[0]


# ── JSON ──


def test_jsonl_reads_what_json_wrote(tmp_path: Path) -> None:
    written = [{"text": "a\u2028b", "label": 3, "score": 0.5, "ok": True, "none": None, "tags": ["å", 1]}, {"text": "\U0001f642"}]
    content = "\n\n".join(json.dumps(row) for row in written)
    assert rows(write(tmp_path / "a.jsonl", content)) == [
        (1, {"text": "a\u2028b", "label": "3", "score": "0.5", "ok": "true", "none": "", "tags": '["å", 1]'}),
        (3, {"text": "\U0001f642"}),
    ]
    assert data.columns(tmp_path / "a.jsonl") == ["text", "label", "score", "ok", "none", "tags"]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ('{"text": "a"', "broken JSON: Expecting ',' delimiter at column 13"),
        ('["a"]', "a JSON list where an object"),
        ("null", "a JSON null where"),
        ('{"text": "\\ud800"}', "surrogate"),
        ("[" * 100_000, "broken JSON"),
        ('{"n": ' + "1" * 5_000 + "}", "broken JSON"),
    ],
    ids=["cut", "list", "null", "half character", "deep", "long number"],
)
def test_jsonl_names_the_line_when_broken(tmp_path: Path, row: str, what: str) -> None:
    found = faults(write(tmp_path / "a.jsonl", f'{{"text": "fine"}}\n\n{row}\n{row}\n'))
    assert [found[0].split(" | ")[0][-6:], found[1].split(" | ")[0][-6:], len(found)] == ["line 3", "line 4", 2]
    assert what in found[0]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_json_reads_a_list_when_larger_than_a_block(tmp_path: Path, indent: int | None, suffix: str) -> None:
    written = [{"text": f"[{index}] " + "ü, ]}" * (index % 50), "label": str(index % 3)} for index in range(3_000)]
    written[7]["text"] = "ö" * 300_000  # larger than a block itself, its letters cut in two
    content = json.dumps(written, indent=indent, ensure_ascii=False)
    found = rows(write(tmp_path / f"a{suffix}", content))
    assert [values for _, values in found] == written
    first = {None: 1, 0: 2, 2: 2}[indent]
    step = {None: 0, 0: 4, 2: 4}[indent]
    assert [line for line, _ in found] == [first + step * index for index in range(3_000)]


def test_json_reads_lines_when_it_is_no_list(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.json", '{"a": 1}\n{"a": 2}\n')) == [(1, {"a": "1"}), (2, {"a": "2"})]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[\n{"a": 1},\n{"a": }\n]', 3),
        ('[\n{"a": 1}\n{"a": 2}\n]', 3),
        ('[\n{"a": 1},\n]', 3),
        ('[\n{"a": 1},\n{"a": 2}\n', 3),
        ('[\n{"a": 1}\n]\nmore', 4),
        ('[\n{"a": 1},\n17]', 3),
        ('[{"a": "x}]', 1),
        ("[", 1),
    ],
)
def test_json_list_names_the_line_when_broken(tmp_path: Path, content: str, line: int) -> None:
    found = faults(write(tmp_path / "a.json", content))
    assert len(found) == 1
    assert f"a.json line {line} |" in found[0]


def test_json_list_refuses_when_it_is_empty(tmp_path: Path) -> None:
    assert "no rows" in faults(write(tmp_path / "a.json", "[ \n ]\n"))[0]


def test_txt_skips_blank_lines_and_keeps_numbers(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.txt", "\ufeffone\r\n\n  \n two ")) == [(1, {"text": "one"}), (4, {"text": " two "})]


# ── parquet, datasets, hub ──


@needs_arrow
@pytest.mark.parametrize("suffix", [".parquet", ".parquet.gz"])
def test_parquet_reads_what_pyarrow_wrote(tmp_path: Path, suffix: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"text": ["a", None, "ö"] * 1_000, "n": [1, 2, 3] * 1_000, "x": [0.5, float("nan"), 2.0] * 1_000})
    pq.write_table(table, tmp_path / "plain", row_group_size=700)
    found = rows(write(tmp_path / f"a{suffix}", (tmp_path / "plain").read_bytes()))
    assert found[:3] == [(1, {"text": "a", "n": "1", "x": "0.5"}), (2, {"text": "", "n": "2", "x": ""}), (3, {"text": "ö", "n": "3", "x": "2.0"})]
    assert found[-1] == (3_000, {"text": "ö", "n": "3", "x": "2.0"})


@needs_arrow
@pytest.mark.parametrize("content", [b"", b"PAR1", b"text,label\na,b\n", b"PAR1" + b"x" * 400 + b"PAR1"])
def test_parquet_refuses_when_damaged(tmp_path: Path, content: bytes) -> None:
    assert "broken parquet" in faults(write(tmp_path / "a.parquet", content))[0]


@needs_arrow
def test_parquet_names_the_row_when_damaged_in_the_middle(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": [f"{index} {index * 7919}" for index in range(20_000)]}), tmp_path / "a.parquet", row_group_size=5_000)
    raw = bytearray((tmp_path / "a.parquet").read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 400] = b"\xff" * 400
    (tmp_path / "a.parquet").write_bytes(raw)
    found = faults(tmp_path / "a.parquet")
    assert "broken parquet" in found[0]
    assert int(found[0].split(" | ")[0].rsplit(" ", 1)[1]) > 5_000


def test_parquet_says_what_to_install_when_pyarrow_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="needs the package 'pyarrow'") as caught:
        rows(write(tmp_path / "a.parquet", b""))
    assert caught.value.hint == "pip install pyarrow"


def classed() -> object:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})
    return datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)


CLASSED = [(1, {"text": "a", "label": "good"}), (2, {"text": "b", "label": "bad"}), (3, {"text": "c", "label": ""})]


@needs_datasets
def test_classes_become_names_when_datasets_wrote_the_file(tmp_path: Path) -> None:
    whole = classed()
    whole.save_to_disk(tmp_path / "saved")  # type: ignore[attr-defined]
    whole.to_parquet(tmp_path / "a.parquet")  # type: ignore[attr-defined]
    assert rows(tmp_path / "saved") == CLASSED
    assert rows(tmp_path / "a.parquet") == CLASSED


@needs_datasets
def test_tags_become_names_when_datasets_wrote_numbers_in_lists(tmp_path: Path) -> None:
    import datasets

    tags = datasets.ClassLabel(names=["O", "B-PER"])
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "tags": datasets.Sequence(tags)})
    whole = datasets.Dataset.from_dict({"tokens": [["Ann", "ran"]], "tags": [[1, 0]]}, features=features)
    whole.save_to_disk(tmp_path / "saved")
    whole.to_parquet(tmp_path / "a.parquet")
    expected = [(1, {"tokens": '["Ann", "ran"]', "tags": '["B-PER", "O"]'})]
    assert rows(tmp_path / "saved") == expected
    assert rows(tmp_path / "a.parquet") == expected


@needs_datasets
def test_saved_picks_the_split_when_it_is_a_dictionary(tmp_path: Path) -> None:
    import datasets

    other = datasets.Dataset.from_dict({"text": ["t"], "label": ["x"]})
    datasets.DatasetDict({"train": classed(), "test": other}).save_to_disk(tmp_path / "saved")
    assert rows(tmp_path / "saved") == CLASSED
    assert rows(tmp_path / "saved", split="test") == [(1, {"text": "t", "label": "x"})]
    assert data.columns(tmp_path / "saved", "test") == ["text", "label"]
    with pytest.raises(ConfigError, match="no split 'tests'") as caught:
        rows(tmp_path / "saved", split="tests")
    assert "did you mean 'test'?" in caught.value.hint


@needs_datasets
def test_saved_refuses_when_folder_is_not_sound(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "text\na\n")
    assert "name a file in it: a.csv" in faults(tmp_path, ConfigError)[0]
    (tmp_path / "state.json").write_text("{}")
    assert "cannot be read" in faults(tmp_path)[0]


@needs_datasets
def test_hub_streams_the_revision_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, **options: object) -> object:
        asked.append((name, options))
        return classed().to_iterable_dataset()  # type: ignore[attr-defined]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = [(record.line, dict(record.values)) for record in data.read("hub:me/mine@v2", split="test")]
    assert found == CLASSED
    assert asked == [("me/mine", {"revision": "v2", "split": "test", "streaming": True})]


@needs_datasets
def test_hub_refuses_clearly_when_it_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: object, **__: object) -> object:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(ConfigError, match="hub:me/mine: ConnectionError: no route"):
        list(data.read("hub:me/mine"))


# ── locate and digest ──


def test_locate_starts_from_the_recipe_when_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = write(tmp_path / "a.csv", "x")
    (tmp_path / "recipes").mkdir()
    assert data.locate("a.csv", tmp_path) == file
    assert os.path.samefile(data.locate("../a.csv", tmp_path / "recipes"), file)
    assert data.locate(str(file), Path("/nowhere")) == file
    assert data.locate("~/a.csv", Path("/nowhere")) == file
    assert data.locate("hub:me/mine@v2", tmp_path) == "hub:me/mine@v2"


def test_locate_names_what_is_near_when_file_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "x")
    with pytest.raises(ConfigError, match=r"trian\.csv: no such file") as caught:
        data.locate("trian.csv", tmp_path)
    assert "did you mean 'train.csv'?" in caught.value.hint


@pytest.mark.parametrize("source", ["", "https://a/b.csv", "hub:", "hub:a b", "package:x", "package:json/../a", "a\0b", "x" * 5_000, "a/b/c"])
def test_locate_refuses_when_source_is_odd(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError):
        data.locate(source, tmp_path)


def test_locate_finds_package_file_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_rows_pkg"
    package.mkdir()
    write(package / "__init__.py", "raise RuntimeError('imported')")
    file = write(package / "rows.csv", "x")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert data.locate("package:some_rows_pkg/rows.csv", Path("/")) == file
    with pytest.raises(ConfigError, match="no such file") as caught:
        data.locate("package:some_rows_pkg/row.csv", Path("/"))
    assert "rows.csv" in caught.value.hint
    with pytest.raises(ConfigError, match="'no_such_rows' is not installed") as caught:
        data.locate("package:no_such_rows/a.csv", Path("/"))
    assert caught.value.hint == "pip install --no-deps no-such-rows"


def test_digest_is_that_of_the_bytes_when_file(tmp_path: Path) -> None:
    assert data.digest(write(tmp_path / "a.csv", b"abc")) == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(DataError):
        data.digest(tmp_path / "gone")


def test_digest_of_folder_changes_when_names_or_bytes_do(tmp_path: Path) -> None:
    def digest(*files: tuple[str, str]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, content in files:
            (folder / name).parent.mkdir(exist_ok=True)
            write(folder / name, content)
        return data.digest(folder)

    assert digest(("a", "1"), ("s/b", "2")) == digest(("s/b", "2"), ("a", "1"))
    different = {digest(("a", "1"), ("b", "2")), digest(("a", "12")), digest(("a", "2"), ("b", "1")), digest(("ab", "12")), digest(("s/a", "12"))}
    assert len(different) == 5


def test_digest_of_hub_is_the_commit_by_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))  # a module that the package itself does not import
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert data.digest(f"hub:me/mine@{commit}") == commit
    monkeypatch.setattr(hub.HfApi, "dataset_info", lambda self, name, revision=None: SimpleNamespace(sha=f"{name} {revision}"))
    assert data.digest("hub:me/mine@v2") == "me/mine v2"

    def offline(*_: object, **__: object) -> object:
        raise ConnectionError("no route")

    monkeypatch.setattr(hub.HfApi, "dataset_info", offline)
    with pytest.raises(ConfigError, match="cannot be resolved to a commit: no route"):
        data.digest("hub:me/mine")
    (tmp_path / "datasets--me--mine" / "refs").mkdir(parents=True)
    (tmp_path / "datasets--me--mine" / "refs" / "main").write_text(commit)
    assert data.digest("hub:me/mine") == commit


# ── labelled and unlabelled ──


def test_labelled_gives_stripped_columns_and_filters(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "id,body,kind,source\n1, one ,x,imdb\n2,two,y,rt\n3,three, y,imdb\n")
    spec = Data(source="a.csv", text="body", label="kind", where={"source": "imdb"})
    assert list(data.labelled(file, spec)) == [(2, "one", "x"), (4, "three", "y")]
    assert list(data.unlabelled(file, Transfer(source="a.csv", text="body", where={"source": "rt"}))) == [(3, "two")]


def test_labelled_lists_columns_when_names_are_missing(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "texts,category\na,b\n" * 20)
    with pytest.raises(DataError) as caught:
        list(data.labelled(file, Data(source="a", label="categroy", where={"sauce": "x"})))
    assert [fault.what for fault in caught.value.faults] == ["no column 'text'", "no column 'categroy'", "no column 'sauce'"]
    assert [fault.hint for fault in caught.value.faults[:2]] == [
        "did you mean 'texts'? (known: category, texts)",
        "did you mean 'category'? (known: category, texts)",
    ]


def test_labelled_names_the_lines_when_objects_lack_keys(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}\n{"text": "c", "label": "y"}\n{"label": "y"}\n')
    with pytest.raises(DataError) as caught:
        list(data.labelled(file, Data(source="a")))
    assert [(fault.where[-6:], fault.what) for fault in caught.value.faults] == [("line 2", "no column 'label'"), ("line 4", "no column 'text'")]


def test_labelled_lists_values_when_filter_matches_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label,source,lang\na,x,imdb,en\nb,y,rt,sv\n")
    with pytest.raises(DataError, match="no row has source = 'imbd'") as caught:
        list(data.labelled(file, Data(source="a", where={"source": "imbd"})))
    assert caught.value.hint == "did you mean 'imdb'? (known: imdb, rt)"
    with pytest.raises(DataError, match="no row has source = 'imdb' and lang = 'sv'"):
        list(data.labelled(file, Data(source="a", where={"source": "imdb", "lang": "sv"})))


def test_labelled_skips_and_tells_when_few_rows_are_empty(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label\n" + "fine,x\n" * 95 + " ,x\nb,\n,\n,x\n,x\n")
    skipped: list[str] = []
    assert len(list(data.labelled(file, Data(source="a"), skipped))) == 95
    assert skipped[:3] == [f"{file} line 97: empty text", f"{file} line 98: empty label", f"{file} line 99: empty text and label"]
    assert len(skipped) == 5


def test_labelled_names_ten_lines_when_many_rows_are_empty(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label\n" + "fine,x\n" * 88 + ",x\n" * 12)
    with pytest.raises(DataError, match=r"12 of 100 rows have an empty text or label: lines 90, 91, .*, 99 …"):
        list(data.labelled(file, Data(source="a")))
    with pytest.raises(DataError, match="1 of 1 rows"):
        list(data.unlabelled(write(tmp_path / "b.csv", "text,n\n,1\n"), Transfer(source="b")))
