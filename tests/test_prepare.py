"""prepare on files written by hand: what is dropped, what is held out, and that no held-out text leaks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgedistill.data._sentences import sentences
from edgedistill.errors import DataError
from edgedistill.progress import Event, Progress, silent
from edgedistill.spec import Data, Inputs, Transfer
from edgedistill.stages import prepare
from edgedistill.stages._splits import class_names, read_split


def write(file: Path, rows: list[tuple[str, str]]) -> Path:
    file.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows), encoding="utf-8")
    return file


def rows(count: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"sentence number {index}", "yes" if index % 2 else "no") for index in range(start, start + count)]


def run(
    out: Path, places: dict[str, Path], data: Data, transfer: Transfer | None = None, seed: int = 0, task: str = "text-classification"
) -> dict[str, Any]:
    out.mkdir(parents=True)
    params = prepare.Params(task=task, data=data, transfers=(transfer,) if transfer else (), seed=seed)
    inputs = Inputs(artifacts={}, places={role: str(place) for role, place in places.items()})
    facts = prepare.run(params, inputs, out, Progress(silent, "prepare"))
    prepare.ensures(out)
    return facts


def texts(out: Path, name: str) -> list[str]:
    return [one["text"] for one in read_split(out, name).examples]


def test_repeats_go_and_contradictions_go_whole_when_case_and_spaces_differ(tmp_path: Path) -> None:
    extra = [("Sentence  NUMBER 1", "yes"), ("sentence number 2", "yes")]  # the second contradicts its earlier label
    file = write(tmp_path / "rows.csv", rows(40) + extra)
    facts = run(tmp_path / "out", {"data": file}, Data(source="rows.csv", test=10, validation=10))
    kept = [text for name in ("train", "test", "validation") for text in texts(tmp_path / "out", name)]
    assert len(kept) == 39
    assert "sentence number 2" not in kept
    assert (facts["repeats"], facts["contradictions"]) == (1, 2)


def test_transfer_has_no_labelled_text_when_it_repeats_some(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", rows(40))
    pool = tmp_path / "pool.txt"
    pool.write_text("".join(f"Sentence number {index}\n" for index in range(80)) * 2, encoding="utf-8")
    run(tmp_path / "out", {"data": file, "transfer 0": pool}, Data(source="rows.csv", test=10, validation=10), Transfer(source="pool.txt", rows=1000))
    assert sorted(texts(tmp_path / "out", "transfer")) == sorted(f"Sentence number {index}" for index in range(40, 80))


def test_transfer_is_a_draw_of_the_seed_when_there_is_more_than_asked(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", rows(40))
    pool = tmp_path / "pool.txt"
    lines = [f"another line {index}\n" for index in range(500)]
    pool.write_text("".join(lines), encoding="utf-8")
    drawn = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pool.write_text("".join(lines if name != "b" else reversed(lines)), encoding="utf-8")  # the order of the file does not matter
        data, transfer = Data(source="rows.csv", test=10, validation=10), Transfer(source="pool.txt", rows=50)
        run(tmp_path / name, {"data": file, "transfer 0": pool}, data, transfer, seed=seed)
        drawn[name] = texts(tmp_path / name, "transfer")
    assert drawn["a"] == drawn["b"]
    assert len(set(drawn["a"]) & set(drawn["c"])) < 20  # 5 of 50 are expected by chance
    assert [len(found) for found in drawn.values()] == [50, 50, 50]


def test_shares_are_kept_when_classes_are_uneven(tmp_path: Path) -> None:
    uneven = [(f"line {index}", "rare" if index % 10 == 0 else "common") for index in range(200)]
    file = write(tmp_path / "rows.csv", uneven)
    run(tmp_path / "out", {"data": file}, Data(source="rows.csv", test=0.2, validation=0.1))
    assert [len(texts(tmp_path / "out", name)) for name in ("train", "validation", "test")] == [140, 20, 40]
    names = class_names(tmp_path / "out")
    counts = {name: Counter(names[label] for label in read_split(tmp_path / "out", name).targets) for name in ("test", "validation")}
    assert counts["test"] == {"rare": 4, "common": 36}
    assert counts["validation"] == {"rare": 2, "common": 18}


def test_twins_are_named_when_labels_differ_only_in_capitals(tmp_path: Path) -> None:
    labels = ("Good", "GOOD", "bad", "so so")
    file = write(tmp_path / "rows.csv", [(f"line {index}", labels[index % 4]) for index in range(80)])
    heard: list[Event] = []
    (tmp_path / "out").mkdir()
    params = prepare.Params(task="text-classification", data=Data(source="rows.csv", test=20, validation=20), transfers=(), seed=0)
    prepare.run(params, Inputs(artifacts={}, places={"data": str(file)}), tmp_path / "out", Progress(heard.append, "prepare"))
    (warning,) = [event.text for event in heard if event.kind == "warn"]
    assert "'GOOD' (20 rows) and 'Good' (20 rows) may be one class; to make them one, under [data] in the recipe:" in warning
    assert "bad" not in warning
    assert class_names(tmp_path / "out") == ["GOOD", "Good", "bad", "so so"]


def test_numbers_are_in_their_order_when_labels_are_numeric(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", [(f"line {index}", str(index % 11)) for index in range(110)])
    run(tmp_path / "out", {"data": file}, Data(source="rows.csv", test=22, validation=22))
    assert class_names(tmp_path / "out") == [str(number) for number in range(11)]


def test_training_rows_give_way_when_the_test_file_repeats_them(tmp_path: Path) -> None:
    file, test = write(tmp_path / "rows.csv", rows(40)), write(tmp_path / "test.csv", rows(10))
    run(tmp_path / "out", {"data": file, "test": test}, Data(source="rows.csv", test="test.csv", validation=10))
    assert len(texts(tmp_path / "out", "test")) == 10
    rest = texts(tmp_path / "out", "train") + texts(tmp_path / "out", "validation")
    assert len(rest) == 30
    assert not set(rest) & set(texts(tmp_path / "out", "test"))


def test_line_is_named_when_the_test_file_has_an_unknown_label(tmp_path: Path) -> None:
    file, test = write(tmp_path / "rows.csv", rows(40)), write(tmp_path / "test.csv", [("one", "yes"), ("two", "perhaps")])
    with pytest.raises(DataError, match=r"line 3: label 'perhaps'"):
        run(tmp_path / "out", {"data": file, "test": test}, Data(source="rows.csv", test="test.csv", validation=10))


def test_size_is_named_when_more_is_held_out_than_there_is(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", rows(40))
    with pytest.raises(DataError, match=r"data\.test: 400 cannot be drawn from the 40 rows"):
        run(tmp_path / "out", {"data": file}, Data(source="rows.csv", test=400, validation=10))


def test_sentences_are_cut_and_counted_when_a_review_has_markup() -> None:
    review = 'It was fine.<br /><br />Then "it ended!" Nobody knows why, not even the director... Bad'
    assert list(sentences(review, 3, 10)) == ["It was fine.", 'Then "it ended!"', "Nobody knows why, not even the director..."]
    assert list(sentences(review, 1, 1)) == ["Bad"]
