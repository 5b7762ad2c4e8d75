"""SQuAD: questions on paragraphs, with the answers' places in them. A question becomes one row."""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgedistill.characters import HALF, is_halved
from edgedistill.data._faults import Faults
from edgedistill.data._record import Record, string
from edgedistill.data._text import lines, open_bytes

EXTENSIONS = ()  # .json is jsonl's; `recognises` looks inside
UNIT = "question"
HEAD = 1 << 14
PLAIN = rb'(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)'
START = re.compile(rb'\s*\{\s*(?:"[^"]*"\s*:\s*' + PLAIN + rb'\s*,\s*)*"data"\s*:\s*\[\s*[\]{]')  # an object with a list `data`
NESTED = re.compile(rb'\s*\{.*"data"\s*:\s*\[\s*\{.*"paragraphs"\s*:\s*\[', re.DOTALL)  # behind something else with parts


def recognises(path: Path) -> bool:
    """Whether this is a JSON file that holds one object with a list of articles as its `data`."""
    if ".json" not in (suffix.lower() for suffix in path.suffixes[-2:]):
        return False
    try:
        with open_bytes(path) as stream:
            head = stream.read(HEAD).removeprefix(codecs.BOM_UTF8)
            return bool(START.match(head) or NESTED.match(head))
    except (OSError, EOFError, zlib.error):  # the reader of .json says what is wrong with the file
        return False


def records(path: Path, split: str) -> Iterator[Record]:
    """Each question: id, title, context, question, and answers as a JSON list of {text, answer_start}, empty where there is none.

    The number of a row is the question's, counted from 1. A file is one split, whatever `split` is. Raises DataError, up to ten faults at once.
    """
    faults = Faults(path, UNIT)
    for number, (title, paragraph, question) in enumerate(_questions(_articles(path)), start=1):
        values = {"id": string(_get(question, "id")), "question": _get(question, "question"), "context": _get(paragraph, "context")}
        answers = [] if _get(question, "is_impossible") is True else _get(question, "answers") or []
        what = _lacking(values) or _misplaced(answers, values["context"])
        if what:
            faults.add(number, f"id '{values['id']}', article '{title}': {what}", "offsets count characters of `context`, from 0")
            continue
        kept = [{"text": answer["text"], "answer_start": answer["answer_start"]} for answer in answers]
        yield Record(number, {**values, "title": title, "answers": json.dumps(kept, ensure_ascii=False)})
    faults.settle()


def _questions(articles: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    """Each question with its article's title and its paragraph."""
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield string(_get(article, "title")), paragraph, question


def _articles(path: Path) -> list[Any]:
    """The list `data`, with its lists of paragraphs and questions in place."""
    faults = Faults(path)
    text = "".join(lines(path, faults))
    faults.settle()
    try:
        articles: list[Any] = json.loads(text)["data"]
    except json.JSONDecodeError as error:
        faults.add(error.lineno, f"broken JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets nested a thousand deep
        faults.add(1, f"broken JSON: {error}")
    faults.settle()
    shape = Faults(path, "article")
    for index, article in enumerate(articles, start=1):
        if what := _shapeless(_get(article, "paragraphs")):
            shape.add(index, what, "SQuAD nests data, paragraphs, qas, answers; rows without that are a list of objects, without `data`")
    shape.settle()
    return articles


def _shapeless(paragraphs: Any) -> str:
    """What is wrong with an article's paragraphs, before any question is looked at."""
    if not isinstance(paragraphs, list):
        return "no list `paragraphs` in it"
    lacking = [number for number, paragraph in enumerate(paragraphs, start=1) if not isinstance(_get(paragraph, "qas"), list)]
    return f"paragraph {lacking[0]} has no list `qas`" if lacking else ""


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, dict) else None


def _lacking(values: dict[str, Any]) -> str:
    if is_halved(values):
        return HALF
    lacking = [f"`{key}`" for key in ("id", "context", "question") if not isinstance(values[key], str) or not values[key]]
    return f"no {' and no '.join(lacking)}" if lacking else ""


def _misplaced(answers: Any, context: str) -> str:
    """What is wrong with the first answer that does not stand where it says."""
    if not isinstance(answers, list):
        return "`answers` is no list of {text, answer_start}"
    for answer in answers:
        text, start = _get(answer, "text"), _get(answer, "answer_start")
        if not isinstance(text, str) or not text or isinstance(start, bool) or not isinstance(start, int):
            return "an answer without `text` or a whole number `answer_start`"
        there = context[start : start + len(text)] if start >= 0 else ""
        if there != text:
            found = context.find(text)
            where = f"it stands at {found}" if found >= 0 else "it is nowhere in the context"
            return f"the answer '{text}' is not at {start}, where '{there}' stands; {where}"
    return ""
