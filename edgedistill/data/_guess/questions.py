"""Questions on texts with the answers' places in them: question-answering."""

from __future__ import annotations

from typing import Any

from edgedistill.data._guess._names import CONTEXTS, QUESTIONS, hint
from edgedistill.data._guess._noun import Guess
from edgedistill.data._guess._table import Table
from edgedistill.data._guess._texts import length

TASK = "question-answering"
LENGTHS = (256, 384)  # tokens of a window; longer texts are read in several
SURE = 400.0


def guesses(table: Table) -> list[Guess]:
    """A guess where a column holds lists of {text, answer_start}, and two others a question and a text."""
    labels = [column.name for column in table.columns.values() if column.filled and not column.flat and _are_answers(table.parts(column.name))]
    flat = [column for column in table.columns.values() if column.prose]
    if not labels or len(flat) < 2:
        return []
    question = max(flat, key=lambda column: (hint(column.name, QUESTIONS), -column.mean))
    context = max((column for column in flat if column is not question), key=lambda column: (hint(column.name, CONTEXTS), column.mean))
    tokens, fits = length(question, context, limits=LENGTHS)
    none = sum(not part for part in table.parts(labels[0]))
    remark = f"a list of {{text, answer_start}}; {none:,} of the first {len(table.sample):,} have no answer"
    return [
        Guess(
            path=table.path,
            task=TASK,
            rows=table.rows,
            text=context.name,
            pair=question.name,
            label=labels[0],
            tokens=tokens,
            fits=fits,
            remarks={"text": "the text that holds the answers", "pair": "the question about it", "label": remark},
            strength=SURE,
        )
    ]


def _are_answers(parts: list[Any]) -> bool:
    answers = [answer for part in parts for answer in part]
    return bool(answers) and all(isinstance(answer, dict) and {"text", "answer_start"} <= answer.keys() for answer in answers)
