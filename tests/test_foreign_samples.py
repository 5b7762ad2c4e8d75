"""Calibration files of other people's models: rows that are read, and files whose faults are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedistill.errors import DataError
from edgedistill.foreign.inputs import Input
from edgedistill.foreign.samples import gather, read

IDS = Input(name="ids", dtype="int64", shape=(None, 3), sizes=(1, 3), kind="id", high=9, why="")
MASK = Input(name="mask", dtype="int64", shape=(None, 3), sizes=(1, 3), kind="mask", high=2, why="")


def faults(file: Path, *inputs: Input) -> list[str]:
    with pytest.raises(DataError) as caught:
        read(file, inputs)
    return [f"{fault.where} {fault.what}".replace(f"--calibration {file}:", "").strip() for fault in caught.value.faults]


def test_rows_are_those_of_the_lines_when_json_is_sound(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('[1, 2, 3]\n\n{"ids": [[4, 5, 6]]}\n', encoding="utf-8-sig")
    assert [row["ids"].tolist() for row in read(file, [IDS])] == [[[1, 2, 3]], [[4, 5, 6]]]


@pytest.mark.parametrize("content", [b"", b"ids,mask\n1,2\n", b"\x80\x04pickled"])
@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_file_is_said_to_be_no_numpy_file_when_it_is_none(tmp_path: Path, ending: str, content: bytes) -> None:
    file = tmp_path / f"rows.{ending}"
    file.write_bytes(content)
    (fault,) = faults(file, IDS)
    assert f"it is not a .{ending} file" in fault
    assert "pickle" not in fault


def test_file_is_named_when_its_zip_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, ids=np.zeros((4, 3), np.int64))
    raw = bytearray(file.read_bytes())
    raw[200] ^= 1  # within the array's bytes: its checksum fails
    file.write_bytes(raw)
    with pytest.raises(DataError, match=r"rows\.npz"):
        read(file, [IDS])


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_array_and_its_type_are_named_when_it_holds_objects(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"rows.{ending}"
    ragged = np.array([[1, 2], [3]], dtype=object)
    if ending == "npz":
        np.savez(file, ids=ragged)
    else:
        np.save(file, ragged)
    assert faults(file, IDS) == ["'ids' its type is object, which only pickle reads; the graph takes int64"]


def test_file_is_named_when_an_array_of_a_folder_is_missing_or_too_many(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ids=np.zeros((2, 3), np.int64), mask=np.ones((2, 3), np.int64))
    np.savez(tmp_path / "b.npz", idz=np.zeros((2, 3), np.int64), mask=np.ones((2, 3), np.int64))
    with pytest.raises(DataError) as caught:
        read(tmp_path, [IDS, MASK])
    places = [(fault.where, fault.what) for fault in caught.value.faults]
    start = f"--calibration {tmp_path / 'b.npz'}: "
    assert places == [(f"{start}'idz'", "the model has no such input"), (f"{start}'ids'", "is missing")]


def test_every_line_is_named_when_several_are_broken(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [b'{"ids": [1, 2, 3]}', b'{"ids": [1, 2, 3}', b"7", b"", b'{"ids": [1, 2]}', b'{"ids": [[1, 2, 3], [4]]}']
    lines += [b'{"ids": [1.5, 2, 3]}', b'"\xe9"']
    file.write_bytes(b"\n".join(lines))
    found = faults(file, IDS)
    assert [fault.partition(" ")[2].partition(" ")[0] for fault in found] == ["2", "3", "5", "6", "7", "8"]
    assert found[0] == "line 2 broken JSON: Expecting ',' delimiter at column 17"
    assert found[1] == "line 3 an object with ids was expected"
    assert found[2] == "line 5 'ids' has the shape [1, 2], the graph takes [None, 3]"
    assert found[3] == "line 6 'ids': its lists are of different lengths"


def test_ten_lines_are_named_when_all_are_broken(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("no json\n" * 40, encoding="utf-8")
    found = faults(file, IDS)
    assert [fault.split(" ")[1] for fault in found[:10]] == [str(number) for number in range(1, 11)]
    assert found[10:] == ["and 30 more"]


def test_sample_is_named_when_it_holds_nan(tmp_path: Path) -> None:
    values = np.zeros((3, 2), np.float32)
    values[1, 0] = np.nan
    np.save(tmp_path / "rows.npy", values)
    one = Input(name="x", dtype="float32", shape=(None, 2), sizes=(1, 2), kind="normal", high=0, why="")
    assert faults(tmp_path / "rows.npy", one) == ["sample 1 'x' holds NaN or infinity"]


def test_repeats_are_counted_when_they_leave_too_few_rows(tmp_path: Path) -> None:
    """Rows 0, 1, 4 are the first of their kind; one of three calibrates, two judge, and four are made up."""
    file = tmp_path / "rows.npz"
    np.savez(file, ids=np.array([[1, 2, 3], [4, 5, 6], [1, 2, 3], [4, 5, 6], [7, 8, 9]]))
    found = gather([IDS], file, 6)
    rows = [found.feed(row)["ids"].tolist()[0] for row in [*found.calibration, *found.judging][:3]]
    assert [{0: [1, 2, 3], 1: [4, 5, 6], 4: [7, 8, 9]}[place] for place in found.places] == rows
    few = "because the file has 5 rows, 2 of them repeats"
    assert found.facts["sentence"] == f"calibrated on 1 row of the file, judged on 2 others, and on 4 SYNTHETIC ones, {few}"


def test_ten_faults_are_told_and_the_rest_counted_when_every_row_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "rows.npz"
    np.savez(file, ids=np.zeros((600, 4), np.int64))
    found = faults(file, IDS)
    assert len(found) == 11
    assert found[0] == "sample 0 'ids' has the shape [1, 4], the graph takes [None, 3]"
    assert found[-1] == "and 590 more"
