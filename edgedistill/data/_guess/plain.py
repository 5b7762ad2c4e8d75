"""Texts without labels: masked-language-modeling. Any text would do, so it is the guess only for a file that has nothing else."""

from __future__ import annotations

from edgedistill.data import txt
from edgedistill.data._guess._noun import ASKED_ONLY, Guess
from edgedistill.data._guess._table import Table
from edgedistill.data._guess._texts import LONGEST, length, other_texts, texts
from edgedistill.data._read import reader

TASK = "masked-language-modeling"


def guesses(table: Table) -> list[Guess]:
    """A guess for every file with prose in it."""
    found = [column for column in texts(table.columns.values()) if column.prose]
    if not found:
        return []
    tokens, fits = length(found[0])
    bare = reader(table.path) is txt
    return [
        Guess(
            path=table.path,
            task=TASK,
            rows=table.rows,
            text=found[0].name,
            tokens=tokens,
            fits=fits,
            remarks={"text": "one text a line" if bare and not table.names else LONGEST},
            doubts={"text": other_texts(found)},
            strength=-100.0 if bare else ASKED_ONLY,
        )
    ]
