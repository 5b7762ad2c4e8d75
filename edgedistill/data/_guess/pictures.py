"""Images with a class: image-classification."""

from __future__ import annotations

from dataclasses import replace

from edgedistill.data._guess._names import IMAGES, hint
from edgedistill.data._guess._noun import Guess
from edgedistill.data._guess._table import Table
from edgedistill.data._guess.classes import labels, with_classes

TASK = "image-classification"
SURE = 350.0


def guesses(table: Table) -> list[Guess]:
    """A guess where rows hold images or name their files, and a column names classes."""
    held = list(dict.fromkeys(name for record in table.sample for name in record.blobs))
    found = held or [column.name for column in table.columns.values() if column.pictures]
    classes = labels([column for column in table.columns.values() if column.name not in found and not column.pictures], table.rows)
    if not found or not classes:
        return []
    image = max(found, key=lambda name: hint(name, IMAGES))
    remark = "images" if held else "names of image files, looked for from the folder of the data file"
    base = Guess(path=table.path, task=TASK, rows=table.rows, image=image, remarks={"image": remark}, strength=SURE)
    return [replace(with_classes(base, classes), strength=SURE)]
