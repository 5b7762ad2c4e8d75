"""Rows from any file a person has: located, read as a stream, checked, and refused with the line when they are not sound."""

from edgedistill.data._guess import Guess, guess, quantiles
from edgedistill.data._images import check_image, checked_images, load_image, named_digest
from edgedistill.data._locate import MissingPackageError, digest, locate
from edgedistill.data._made import made
from edgedistill.data._read import columns, extension_of, extensions, read
from edgedistill.data._record import Record
from edgedistill.data._rows import labelled, rows, unlabelled
from edgedistill.data._text import lines_of

__all__ = [
    "Guess",
    "MissingPackageError",
    "Record",
    "check_image",
    "checked_images",
    "columns",
    "digest",
    "extension_of",
    "extensions",
    "guess",
    "labelled",
    "lines_of",
    "load_image",
    "locate",
    "made",
    "named_digest",
    "quantiles",
    "read",
    "rows",
    "unlabelled",
]
