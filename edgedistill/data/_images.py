"""The images that rows name or hold: their bytes, and whether they decode."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from edgedistill import packages
from edgedistill.data import idx
from edgedistill.data._faults import Faults
from edgedistill.data._read import read, reader
from edgedistill.data._record import Record, shown
from edgedistill.data._rows import rows
from edgedistill.errors import DataError, Fault, nearest
from edgedistill.spec import Data, Transfer


def checked_images(
    located: Path | str, spec: Data | Transfer, wanted: Mapping[str, str], skipped: list[str] | None = None, optional: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, str], bytes]]:
    """Line, value by role, and the encoded image of each row, as `rows` gives them; the role `image` names its column.

    An image that is missing or does not decode whole is a fault with its row: up to ten are raised as one DataError.
    """
    faults = Faults(located, getattr(reader(located), "UNIT", "row"))
    folder = base(located)
    for line, values, record in rows(located, spec, wanted, skipped, optional):
        try:
            content = load_image(record, wanted["image"], folder)
        except DataError as error:
            faults.add(line, error.faults[0].what, error.faults[0].hint)
            continue
        what = check_image(content)
        if what:
            name = values["image"] or record.values.get("path", "")
            faults.add(line, f"{name}: {what}" if name else what, "take the row out, or fetch the image again")
            continue
        yield line, values, content
    faults.settle()


def base(located: Path | str) -> Path:
    """The folder that names of files in the rows are relative to."""
    place = Path(located)
    return place if place.is_dir() else place.parent


def load_image(record: Record, column: str, folder: Path) -> bytes:
    """An encoded image of a row: what the row holds, else the file it names, relative to the data file's folder.

    Raises DataError with the row where there is neither.
    """
    if content := record.blobs.get(column):
        return content
    place = f"row {record.line}"
    if column not in record.values:
        raise DataError([Fault(place, f"no column '{column}'", nearest(column, (*record.values, *record.blobs)))])
    name = record.values[column].strip()
    if not name:
        raise DataError([Fault(place, f"empty {column}: no image in it, and no file's name")])
    try:
        return (folder / name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise DataError([Fault(place, f"{name}: {what}", f"images are looked for from {shown(folder)}")]) from error


def named_digest(located: Path | str, spec: Data | Transfer, column: str) -> str:
    """sha256 of the images that a file's rows name by their own files, in order; empty where the file or folder holds them itself.

    Images that are missing are told when the rows are read.
    """
    if isinstance(located, str) or located.is_dir() or idx.recognises(located):
        return ""
    whole = hashlib.sha256()
    for record in read(located, split=spec.split, columns=getattr(spec, "columns", ())):
        if not record.blobs.get(column):
            with suppress(DataError):
                whole.update(hashlib.sha256(load_image(record, column, base(located))).digest())
    return whole.hexdigest()


def check_image(content: bytes) -> str | None:
    """What is wrong with an encoded image; None where it decodes whole, in whatever mode."""
    if not content:
        return "the image is empty"
    pillow = packages.load("PIL.Image", "checking images")
    try:
        with pillow.open(BytesIO(content)) as image:
            image.load()
    except Exception as error:  # OSError, SyntaxError, ValueError, EOFError, struct.error …: Pillow's decoders have no common class
        what = "no format that Pillow knows" if type(error).__name__ == "UnidentifiedImageError" else str(error) or type(error).__name__
        return f"the image does not decode: {what}"
    return None
