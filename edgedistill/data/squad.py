"""SQuAD: questions on paragraphs, with the answers' places in them. A question becomes one row."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgedistill.data._faults import Faults
from edgedistill.data._record import Record, string
from edgedistill.data._text import lines, open_bytes

EXTENSIONS = ()  # .json is jsonl's; `recognises` looks inside
UNIT = "question"
HEAD = 1 << 14
PLAIN = rb'(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)'
START = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*(?:"[^"]*"\s*:\s*' + PLAIN + rb'\s*,\s*)*"data"\s*:\s*\[\s*[\]{]')  # an object with a list `data`


def recognises(path: Path) -> bool:
    """Whether this is a JSON file that holds one object with a list of articles as its `data`."""
    if ".json" not in (suffix.lower() for suffix in path.suffixes[-2:]):
        return False
    try:
        with open_bytes(path) as stream:
            return START.match(stream.read(HEAD)) is not None
    except (OSError, EOFError, zlib.error):  # the reader of .json says what is wrong with the file
        return False


def records(path: Path, split: str) -> Iterator[Record]:
    """Each question: id, title, context, question, and answers as a JSON list of {text, answer_start}, empty where there is none.

    The number of a row is the question's, counted from 1. A file is one split, whatever `split` is. Raises DataError, up to ten faults at once.
    """
    articles = _articles(path)
    faults = Faults(path, UNIT)
    number = 0
    for index, article in enumerate(articles, start=1):
        title = string(_get(article, "title"))
        for paragraph in _list(article, "paragraphs"):
            for question in _list(paragraph, "qas"):
                number += 1
                values = {"id": string(_get(question, "id")), "title": title, "context": _get(paragraph, "context")}
                values |= {"question": _get(question, "question"), "answers": "[]"}
                answers = [] if _get(question, "is_impossible") is True else _list(question, "answers")
                what = _lacking(values) or _misplaced(answers, values["context"])
                if what:
                    article_name = f"'{title}'" if title else f"number {index}"
                    faults.add(number, f"id '{values['id']}', article {article_name}: {what}", "offsets count characters of `context`, from 0")
                    continue
                kept = [{"text": answer["text"], "answer_start": answer["answer_start"]} for answer in answers]
                yield Record(number, values | {"answers": json.dumps(kept, ensure_ascii=False)})
    faults.settle()


def _articles(path: Path) -> list[Any]:
    faults = Faults(path)
    text = "".join(lines(path, faults))
    faults.settle()
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        faults.add(error.lineno, f"broken JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets nested a thousand deep
        faults.add(1, f"broken JSON: {error}")
    faults.settle()
    articles: list[Any] = whole["data"]
    for index, article in enumerate(articles, start=1):
        if not isinstance(_get(article, "paragraphs"), list):
            Faults(path, "article").refuse(
                index, "no list `paragraphs` in it", "SQuAD: data → paragraphs → qas → answers; a list of rows needs no `data`"
            )
    return articles


def _get(holder: Any, key: str) -> Any:
    return holder.get(key) if isinstance(holder, dict) else None


def _list(holder: Any, key: str) -> list[Any]:
    found = _get(holder, key)
    return found if isinstance(found, list) else []


def _lacking(values: dict[str, Any]) -> str:
    lacking = [f"`{key}`" for key in ("id", "context", "question") if not isinstance(values[key], str) or not values[key]]
    return f"no {' and no '.join(lacking)}" if lacking else ""


def _misplaced(answers: list[Any], context: str) -> str:
    """What is wrong with the first answer that does not stand where it says."""
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
