"""CoNLL files: one token a line, a blank line between sentences. A sentence becomes one row, its columns JSON lists of strings.

CoNLL-U has its ten names (id, form, lemma, upos, …). Other files have the names in `columns`; without them `words` is the first column that is
not a running number, and `tags` the last one (the third in .iob2 files with numbers: the annotator's name comes after it).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from edgedistill.data._faults import Faults
from edgedistill.data._record import Record
from edgedistill.data._text import lines

EXTENSIONS = (".conll", ".conllu", ".iob2", ".bio")
UNIT = "line"
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
NO_WORD = re.compile(r"\d+[-.]\d+")  # 1-2 spans words that follow, 1.1 is a word that was left out
DOCUMENT = "-DOCSTART-"
HEAD = 1_000  # lines that tell how a file is laid out

Sentence = list[tuple[int, list[str]]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a file's lines are parted: at tabs or blanks, into how many columns, and whether the first is a running number."""

    tabs: bool
    width: int
    numbered: bool

    def part(self, line: str) -> list[str]:
        return line.split("\t") if self.tabs else line.split()


def records(path: Path, split: str, columns: tuple[str, ...] = ()) -> Iterator[Record]:
    """Each sentence, with the line it starts on. A file is one split, whatever `split` is. Raises DataError with lines, up to ten at once."""
    faults = Faults(path)
    universal = ".conllu" in (suffix.lower() for suffix in path.suffixes[-2:]) and not columns
    layout = _layout(path)
    width = len(columns) or (len(CONLLU) if universal else layout.width)
    places = _places(path, layout, columns or (CONLLU if universal else ()))
    told = "`columns` names" if columns else "CoNLL-U has" if universal else "most lines have"
    for sentence in _sentences(path, layout, faults):
        wrong = [(line, fields) for line, fields in sentence if len(fields) != width]
        for line, fields in wrong:
            faults.add(line, f"{len(fields)} columns where {told} {width}", _remedy(layout))
        tokens = [fields for _, fields in sentence if not (universal and NO_WORD.fullmatch(fields[0]))]
        if tokens and not wrong:
            lists = {name: json.dumps([fields[place] for fields in tokens], ensure_ascii=False) for name, place in places.items()}
            yield Record(sentence[0][0], lists)
    faults.settle()


def _layout(path: Path) -> _Layout:
    """Read off the first lines; what is wrong with them is said when they are read as rows."""
    head = (line.rstrip("\r\n") for line in islice(lines(path, Faults(path)), HEAD))
    tokens = [line for line in head if line.strip() and not line.startswith(("#", DOCUMENT))]
    tabs = any("\t" in line for line in tokens)
    parted = [line.split("\t") if tabs else line.split() for line in tokens]
    widths = Counter(map(len, parted))
    width = widths.most_common(1)[0][0] if widths else 0
    numbers = sum(fields[0].isdecimal() or bool(NO_WORD.fullmatch(fields[0])) for fields in parted)
    return _Layout(tabs, width, width >= 3 and numbers == len(parted))


def _places(path: Path, layout: _Layout, names: tuple[str, ...]) -> dict[str, int]:
    """Which column stands where."""
    if names:
        return {name: place for place, name in enumerate(names)}
    third = layout.numbered and ".iob2" in (suffix.lower() for suffix in path.suffixes[-2:])
    words = {"words": int(layout.numbered)}
    return words if layout.width < 2 else words | {"tags": 2 if third else layout.width - 1}


def _sentences(path: Path, layout: _Layout, faults: Faults) -> Iterator[Sentence]:
    sentence: Sentence = []
    for number, raw in enumerate(lines(path, faults), start=1):
        line = raw.rstrip("\r\n")
        if not line.strip():
            if sentence:
                yield sentence
            sentence = []
        elif not line.startswith(DOCUMENT) and not _is_comment(line, layout, begun=bool(sentence)):
            sentence.append((number, layout.part(line)))
    if sentence:
        yield sentence


def _is_comment(line: str, layout: _Layout, begun: bool) -> bool:
    """Whether a line that begins with # is a remark: a token may be a # or a #hashtag, but it has its columns.

    Where blanks part the columns, `# sent = 1` has four as well: a # that opens a sentence begins a remark there.
    """
    if not line.startswith("#"):
        return False
    fits = len(layout.part(line)) == layout.width
    return not fits or not (layout.tabs or begun or line[1:2].strip())


def _remedy(layout: _Layout) -> str:
    return f"columns are separated by {'tabs' if layout.tabs else 'blanks'}, sentences by a blank line"
