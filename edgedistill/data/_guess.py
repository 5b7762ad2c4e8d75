"""What a data file is about: which column is the text, which the label, and how much there is of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgedistill.data._read import read
from edgedistill.data._record import Record, shown
from edgedistill.errors import ConfigError, Fault

TEXT_NAMES = ("text", "sentence", "utterance", "review", "query", "message", "content", "body", "comment", "document")
LABEL_NAMES = ("label", "category", "intent", "class", "sentiment", "target", "topic", "emotion", "tag")
LOOKED_AT = 1_000_000  # rows; seconds of reading, and enough to scale a training by
CLASSES = 1_000  # more distinct values than this are no classes
LONG_LABEL = 64  # characters, on average: beyond it is prose
LENGTHS = (32, 64, 128, 256)  # tokens that a text may be cut to
MARKS = 2  # tokens that frame a text


@dataclass(slots=True)
class Column:
    """What one column held: filled row by row."""

    name: str
    filled: int = 0
    characters: int = 0
    spaced: int = 0
    nested: int = 0
    values: Counter[str] = field(default_factory=Counter)
    many: bool = False

    def add(self, value: str) -> None:
        """Take one value into account."""
        value = value.strip()
        if not value:
            return
        self.filled += 1
        self.characters += len(value)
        self.spaced += " " in value
        self.nested += value[0] in "[{" and value[-1] in "]}"
        if not self.many:
            self.values[value] += 1
            self.many = len(self.values) > CLASSES

    @property
    def mean(self) -> float:
        """Characters of a value, on average."""
        return self.characters / max(self.filled, 1)

    @property
    def prose(self) -> bool:
        """Whether most values hold spaces; links and keys do not."""
        return self.spaced > self.filled / 2

    @property
    def flat(self) -> bool:
        """Whether values are single: not JSON lists and objects."""
        return self.filled > 0 and self.nested <= self.filled / 2

    def __str__(self) -> str:
        held = f"more than {CLASSES:,}" if self.many else f"{len(self.values):,}"
        return f"{self.name!r}: {self.filled:,} filled, {held} distinct, {self.mean:.0f} characters on average"


@dataclass(frozen=True, slots=True)
class Guess:
    """What was found in a file. `others` could be the label too, with so many values; `texts` the text; `tokens` holds 95 % of
    the texts where `fits`."""

    path: Path
    rows: int
    text: str
    label: str
    classes: int
    majority: float
    tokens: int
    fits: bool
    others: tuple[tuple[str, int], ...]
    texts: tuple[str, ...]


def guess(path: Path) -> Guess:
    """Read the file and choose. Raises ConfigError with what was seen where no column can be the text, or none the label."""
    columns: dict[str, Column] = {}
    lengths: dict[str, Counter[int]] = {}
    rows = 0
    for rows, record in enumerate(read(path), start=1):
        _take(record, columns, lengths)
        if rows == LOOKED_AT:
            break
    texts = _texts(columns.values())
    labels = _labels([column for column in columns.values() if column is not texts[0]], rows) if texts else []
    if not labels:
        lacking = "label (few distinct values, each in several rows)" if texts else "text"
        faults = [Fault(shown(path), f"no column can be the {lacking}"), *(Fault("saw", str(column)) for column in columns.values())]
        raise ConfigError(faults if len(columns) < 20 else faults[:20])
    text, label = texts[0], labels[0]
    if label.name in label.values:
        what = f"{shown(path)}: its first line is data, not column names: '{label.name}' is also a label"
        raise ConfigError(what, hint='write a first line like: text,label; or name them in the recipe: columns = ["text", "label"]')
    tokens, fits = _tokens(lengths[text.name])
    return Guess(
        path=path,
        rows=rows,
        text=text.name,
        label=label.name,
        classes=len(label.values),
        majority=label.values.most_common(1)[0][1] / label.filled,
        tokens=tokens,
        fits=fits,
        others=tuple((column.name, len(column.values)) for column in labels[1:]),
        texts=tuple(column.name for column in texts[1:] if column.prose and column.mean > text.mean / 3),
    )


def _take(record: Record, columns: dict[str, Column], lengths: dict[str, Counter[int]]) -> None:
    for name, value in record.values.items():
        if name not in columns:
            columns[name], lengths[name] = Column(name), Counter()
        columns[name].add(value)
        lengths[name][min(len(value.encode()) // 4, LENGTHS[-1])] += 1  # four bytes a token: English words, three-byte scripts


def _texts(columns: Iterable[Column]) -> list[Column]:
    """Columns that may be the text, best first: prose before keys, then the longer; a telling name counts double."""
    flat = [column for column in columns if column.flat]
    return sorted(flat, key=lambda column: (column.prose, column.mean * (2 if _hint(column.name, TEXT_NAMES) else 1)), reverse=True)


def _labels(columns: Iterable[Column], rows: int) -> list[Column]:
    """Columns that may be the label, best first: a telling name, then few distinct values."""
    usable = [column for column in columns if _is_classes(column, rows)]
    return sorted(usable, key=lambda column: (-_hint(column.name, LABEL_NAMES), len(column.values)))


def _is_classes(column: Column, rows: int) -> bool:
    repeated = not column.many and 2 <= len(column.values) <= max(2, rows // 2)
    return repeated and column.flat and column.filled >= 0.95 * rows and column.mean <= LONG_LABEL and not _is_measure(column.values)


def _is_measure(values: Iterable[str]) -> bool:
    """Whether these are numbers with fractions: something measured, not named."""
    try:
        return any(float(value) % 1 for value in values)
    except ValueError:
        return False


def _hint(name: str, known: tuple[str, ...]) -> int:
    """How telling a column's name is: the name itself, earlier ones first, then as a part of it, then not at all."""
    lowered = name.strip().lower()
    for worth, exact in ((200, True), (100, False)):
        for rank, hint in enumerate(known):
            if lowered in (hint, f"{hint}s") if exact else hint in lowered:
                return worth - rank
    return 0


def _tokens(lengths: Counter[int]) -> tuple[int, bool]:
    """The smallest length that holds 95 % of the texts, and whether it does: none may."""
    enough = 0.95 * lengths.total()
    for limit in LENGTHS:
        if sum(count for length, count in lengths.items() if length + MARKS <= limit) >= enough:
            return limit, True
    return LENGTHS[-1], False
