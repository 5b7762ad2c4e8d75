"""Parquet files, a batch of rows at a time; class numbers that `datasets` wrote become their names again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgedistill import packages
from edgedistill.data._record import Record, shown, typed
from edgedistill.data._text import open_bytes
from edgedistill.errors import DataError, Fault

EXTENSIONS = (".parquet",)
UNIT = "row"
BATCH = 1024


def records(path: Path, split: str) -> Iterator[Record]:
    """Each row. A file is one split, whatever `split` is. Raises DataError with the row where the file is damaged."""
    arrow = packages.load("pyarrow", "reading parquet")
    parquet = packages.load("pyarrow.parquet", "reading parquet")
    number = 0
    try:
        with open_bytes(path) as stream:
            table = parquet.ParquetFile(stream)
            classes = _classes(table.schema_arrow.metadata or {})
            for batch in table.iter_batches(batch_size=BATCH):
                for number, row in enumerate(batch.to_pylist(), start=number + 1):  # noqa: B020  counts on over batches
                    yield typed(number, row, classes)
    except (arrow.ArrowException, OSError, EOFError, ValueError, zlib.error) as error:  # damaged pages, gzip or footer; a class without a name
        raise DataError([Fault(f"{shown(path)} row {number + 1}", f"broken parquet: {error}")]) from error


def _classes(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes, by column, as `datasets` leaves them in the schema. Other writers leave none."""
    written: Any = json.loads(metadata.get(b"huggingface", b"{}"))
    features: dict[str, Any] = written.get("info", {}).get("features", {})
    inner = {column: feature.get("feature", feature) for column, feature in features.items() if isinstance(feature, dict)}
    return {column: feature["names"] for column, feature in inner.items() if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"}
