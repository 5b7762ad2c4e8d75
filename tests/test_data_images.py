"""Images: in IDX files, in folders, in columns and beside a table; one that does not decode is named with its row."""

from __future__ import annotations

import gzip
import struct
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest

from edgedistill import data
from edgedistill.errors import ConfigError, DataError
from edgedistill.spec import Data

Image = pytest.importorskip("PIL.Image")
needs_datasets = pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
needs_arrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
MODES = {
    "L": "png", "RGB": "jpg", "RGBA": "png", "P": "gif", "LA": "png", "CMYK": "jpg", "I;16": "png", "1": "bmp", "F": "tiff", "I": "ppm"
}  # fmt: skip
WANTED = {"image": "image", "label": "label"}


def picture(mode: str = "RGB", kind: str = "png", side: int = 24) -> bytes:
    grey = Image.radial_gradient("L").resize((side, side))
    stream = BytesIO()
    grey = grey.convert("I") if mode.startswith("I") else grey
    grey.convert(mode).save(stream, {"jpg": "jpeg"}.get(kind, kind))
    return stream.getvalue()


def truncated(kind: str = "jpg") -> bytes:
    content = picture("RGB", kind, 128)
    return content[: len(content) // 2]


def faults(located: Path, wanted: dict[str, str] = WANTED, **options: str) -> list[str]:
    with pytest.raises(DataError) as caught:
        list(data.checked_images(located, Data(source="a", **options), wanted))  # type: ignore[arg-type]
    return [f"{fault.where.removeprefix(str(located))} | {fault.what} | {fault.hint}" for fault in caught.value.faults]


# ── one image ──


@pytest.mark.parametrize("mode", MODES)
def test_check_image_passes_every_mode_when_it_decodes(mode: str) -> None:
    content = picture(mode, MODES[mode])
    assert data.check_image(content) is None


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "webp", "tiff"])
def test_check_image_says_so_when_the_end_is_missing(kind: str) -> None:
    assert "does not decode" in (data.check_image(truncated(kind)) or "")


def test_check_image_says_so_when_it_is_no_image() -> None:
    assert data.check_image(b"") == "the image is empty"
    assert data.check_image(b"<html>404</html>") == "the image does not decode: no format that Pillow knows"


def test_load_image_takes_the_blob_then_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"file")
    assert data.load_image(data.Record(1, {"image": "x.png"}, {"image": b"blob"}), "image", tmp_path) == b"blob"
    assert data.load_image(data.Record(1, {"image": " x.png "}), "image", tmp_path) == b"file"
    for values, what in [
        ({"image": "y.png"}, "row 7: y.png: no such file"),
        ({"img": ""}, "row 7: no column 'image'"),
        ({"image": " "}, "empty image"),
    ]:
        with pytest.raises(DataError, match=what):
            data.load_image(data.Record(7, values), "image", tmp_path)


# ── a table that names files ──


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_table_of_files_names_the_rows_when_images_are_broken_or_missing(tmp_path: Path, name: str) -> None:
    files = {f"{mode[0]}{index}.{kind}": picture(mode, kind) for index, (mode, kind) in enumerate(MODES.items())}
    (tmp_path / "pictures").mkdir()
    for file, content in {**files, "cut.jpg": truncated()}.items():
        (tmp_path / "pictures" / file).write_bytes(content)
    names = [f"pictures/{file}" for file in files]

    def table(names: list[str]) -> Path:
        lines = ["image,label", *(f"{name},x" for name in names)] if name == "a.csv" else [f'{{"image": "{name}", "label": "x"}}' for name in names]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    first = 2 if name == "a.csv" else 1
    found = list(data.checked_images(table(names), Data(source="a"), WANTED))
    assert [(line, values["image"], content) for line, values, content in found] == [
        (first + index, names[index], content) for index, content in enumerate(files.values())
    ]
    told = faults(table(["pictures/cut.jpg", *names, "pictures/gone.png"]))
    assert [fault.split(" | ")[0] for fault in told] == [f" line {first}", f" line {first + 1 + len(names)}"]
    assert "pictures/cut.jpg: the image does not decode" in told[0]
    assert "pictures/gone.png: no such file" in told[1]


# ── folders ──


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_folder_gives_class_and_path_when_each_class_has_one(tmp_path: Path) -> None:
    files = {"Big Cat/1.png": picture(), "Big Cat/deep/2.JPG": picture("CMYK", "jpg"), "dog/1.png": picture("L"), "dog/.DS_Store": b"", "a.txt": b""}
    found = list(data.read(folder(tmp_path / "pets", files)))
    assert [(record.line, dict(record.values), dict(record.blobs)) for record in found] == [
        (1, {"label": "Big Cat", "path": "Big Cat/1.png"}, {"image": files["Big Cat/1.png"]}),
        (2, {"label": "Big Cat", "path": "Big Cat/deep/2.JPG"}, {"image": files["Big Cat/deep/2.JPG"]}),
        (3, {"label": "dog", "path": "dog/1.png"}, {"image": files["dog/1.png"]}),
    ]
    assert data.columns(tmp_path / "pets") == ["label", "path", "image"]


def test_folder_names_the_image_when_it_is_truncated(tmp_path: Path) -> None:
    place = folder(tmp_path / "pets", {"cat/1.png": picture(), "dog/1.jpg": truncated(), "dog/2.png": picture()})
    told = faults(place)
    assert len(told) == 1
    assert " image 2 | dog/1.jpg: the image does not decode" in told[0]


def test_folder_takes_the_split_when_it_has_folders_for_them(tmp_path: Path) -> None:
    place = folder(tmp_path / "pets", {"train/cat/1.png": picture(), "test/dog/1.png": picture()})
    assert [record.values["label"] for record in data.read(place)] == ["cat"]
    assert [record.values["label"] for record in data.read(place, split="test")] == ["dog"]
    with pytest.raises(ConfigError, match="no split 'tests'"):
        list(data.read(place, split="tests"))


def test_folder_is_refused_when_images_have_no_class_or_classes_no_image(tmp_path: Path) -> None:
    told = faults(folder(tmp_path / "pets", {"cat/1.png": picture(), "stray.png": picture(), "empty/readme.txt": b""}))
    assert ["stray.png is in no class" in told[0], "'empty' holds no image" in told[1]] == [True, True]
    with pytest.raises(ConfigError, match="not one that has a folder of images"):
        data.read(folder(tmp_path / "other", {"a.csv": b"x"}))


# ── IDX ──


def idx(root: Path, count: int = 3, labels: int = 3, suffix: str = "", cut: int = 0) -> Path:
    pixels = bytes(index % 251 for index in range(count * 5 * 4))
    contents = {
        "images-idx3": struct.pack(">4I", 0x803, count, 5, 4) + pixels,
        "labels-idx1": struct.pack(">2I", 0x801, labels) + bytes([7, 0, 9][:labels]),
    }
    for kind, content in contents.items():
        content = content[: len(content) - cut] if kind == "images-idx3" else content
        (root / f"t-{kind}-ubyte{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return root / f"t-images-idx3-ubyte{suffix}"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_gives_png_that_pillow_reads_when_labels_lie_beside(tmp_path: Path, suffix: str) -> None:
    found = list(data.read(idx(tmp_path, suffix=suffix)))
    assert [record.values for record in found] == [{"label": "7"}, {"label": "0"}, {"label": "9"}]
    image = Image.open(BytesIO(found[1].blobs["image"]))
    assert (image.mode, image.size, image.tobytes()) == ("L", (4, 5), bytes(range(20, 40)))
    assert len(list(data.checked_images(tmp_path / f"t-images-idx3-ubyte{suffix}", Data(source="a"), WANTED))) == 3


def test_idx_digest_changes_when_the_labels_do(tmp_path: Path) -> None:
    file = idx(tmp_path)
    before = data.digest(file)
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, 3) + bytes([7, 0, 8]))
    assert data.digest(file) != before


def test_idx_says_what_is_wrong_when_the_two_files_do_not_fit(tmp_path: Path) -> None:
    assert "image 3 | cannot be read" in faults(idx(tmp_path, cut=1))[0]
    assert "3 images, but" in faults(idx(tmp_path, labels=2))[0]
    with pytest.raises(ConfigError, match="these are labels"):
        list(data.read(tmp_path / "t-labels-idx1-ubyte"))
    (tmp_path / "t-images-idx3-ubyte").write_bytes(b"\0" * 20)
    assert "not an IDX file" in faults(tmp_path / "t-images-idx3-ubyte")[0]
    (tmp_path / "t-labels-idx1-ubyte").unlink()
    with pytest.raises(ConfigError, match="no t-labels-idx1-ubyte beside it"):
        list(data.read(tmp_path / "t-images-idx3-ubyte"))


# ── columns ──


@needs_arrow
def test_parquet_gives_blobs_when_columns_hold_images(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    structs = [{"bytes": picture(), "path": "1.png"}, {"bytes": None, "path": "2.png"}, {"bytes": picture("L"), "path": None}]
    pq.write_table(pa.table({"image": structs, "raw": [picture(), b"plain text", None], "label": ["a", "b", "c"]}), tmp_path / "a.parquet")
    found = list(data.read(tmp_path / "a.parquet"))
    assert [record.values["image"] for record in found] == ["1.png", "2.png", ""]
    assert [sorted(record.blobs) for record in found] == [["image", "raw"], [], ["image"]]
    assert [record.values["raw"] for record in found] == ["", "plain text", ""]
    assert [record.blobs.get("image") for record in found] == [structs[0]["bytes"], None, structs[2]["bytes"]]
    assert " row 2 | 2.png: no such file" in faults(tmp_path / "a.parquet")[0]


@needs_datasets
@pytest.mark.parametrize("kind", ["saved", "a.parquet", "hub"])
def test_datasets_images_are_bytes_as_they_lie_when_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    content = picture("CMYK", "jpg")
    whole = datasets.Dataset.from_dict({"image": [{"bytes": content, "path": "1.jpg"}], "label": [1]}, features=features)
    whole.save_to_disk(tmp_path / "saved")
    whole.to_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: whole.to_iterable_dataset())
    found = list(data.read("hub:me/mine" if kind == "hub" else tmp_path / kind))
    assert [(dict(record.values), dict(record.blobs)) for record in found] == [({"image": "1.jpg", "label": "dog"}, {"image": content})]
