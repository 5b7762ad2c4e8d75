"""Small files of every task, as people have them, for the tests of `init`."""

from __future__ import annotations

import csv
import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conftest import BAD, CLASSES, FILLER, GOOD, sentence

ROWS = 120
NAMES = list(CLASSES)
BRIGHT = {"dark": 40, "light": 210}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How to write it into a folder, and what `init` must make of it; `named` is the task that a person must name."""

    write: Callable[[Path], Path]
    task: str
    data: dict[str, object]
    named: str | None = None
    also: tuple[str, ...] = ()
    losses: tuple[str, ...] = field(default=("kl", "ce"))


def texts() -> Iterator[tuple[int, str, str]]:
    """Number, text, class."""
    draw = random.Random(1)
    for index in range(ROWS):
        name = NAMES[index % 3]
        yield index, f"{sentence(CLASSES[name], draw)} {index}", name


def rows_of(file: Path, rows: list[list[str]], delimiter: str = ",") -> Path:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return file


def lines_of(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def single(folder: Path) -> Path:
    return rows_of(folder / "films.csv", [["review", "verdict"], *([text, name] for _, text, name in texts())])


def pairs(folder: Path) -> Path:
    draw = random.Random(2)
    rows = [[text, sentence(CLASSES[name], draw), name] for _, text, name in texts()]
    return rows_of(folder / "pairs.csv", [["premise", "hypothesis", "gold_label"], *rows])


def opened(folder: Path) -> Path:
    """One text a line behind its label, as in SST."""
    lines = [f"{NAMES.index(name)} {text}" for _, text, name in texts()]
    (folder / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "train.txt"


def sets(folder: Path) -> Path:
    """No header, labels with commas between them, keys: as in GoEmotions."""
    draw = random.Random(3)
    return rows_of(folder / "sets.tsv", [[text, numbers, f"k{index}x"] for index, text, numbers in _labelled(draw)], "\t")


def lists(folder: Path) -> Path:
    draw = random.Random(3)
    return lines_of(folder / "sets.jsonl", [{"text": text, "labels": numbers.split(",")} for _, text, numbers in _labelled(draw)])


def _labelled(draw: random.Random) -> Iterator[tuple[int, str, str]]:
    for index in range(ROWS):
        chosen = sorted(draw.sample(range(3), 1 + (index % 3 == 0)))
        words = [draw.choice(CLASSES[NAMES[number]]) for number in chosen]
        yield index, f"{sentence(words, draw)} {index}", ",".join(map(str, chosen))


def scored(folder: Path) -> Path:
    """Pairs and how alike they are, without a header: as in the STS benchmark."""
    draw = random.Random(4)
    rows = []
    for _, text, name in texts():
        other = draw.choice(NAMES)
        rows.append([text, sentence(CLASSES[other], draw), f"{(4.25 if other == name else 1) + draw.randrange(4) / 5:.2f}"])
    return rows_of(folder / "alike.csv", rows)


def rated(folder: Path) -> Path:
    draw = random.Random(5)
    rows = [[text, f"{NAMES.index(name) + draw.randrange(4) / 5:.2f}"] for _, text, name in texts()]
    return rows_of(folder / "rated.csv", [["text", "rating"], *rows])


def _tagged() -> Iterator[tuple[list[str], list[str]]]:
    for _, text, _ in texts():
        words = text.split()
        yield words, ["B-good" if word in GOOD else "B-bad" if word in BAD else "O" for word in words]


def conll(folder: Path) -> Path:
    blocks = ["\n".join(f"{word} {tag}" for word, tag in zip(words, tags, strict=True)) for words, tags in _tagged()]
    (folder / "tagged.conll").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return folder / "tagged.conll"


def tagged(folder: Path) -> Path:
    return lines_of(folder / "tagged.jsonl", [{"words": words, "tags": tags} for words, tags in _tagged()])


def spans(folder: Path) -> Path:
    rows: list[dict[str, object]] = []
    for words, tags in _tagged():
        starts = [len(" ".join([*words[:index], ""])) for index in range(len(words))]
        found = [[start, start + len(word), tag[2:]] for start, word, tag in zip(starts, words, tags, strict=True) if tag != "O"]
        rows.append({"text": " ".join(words), "slots": found})
    return lines_of(folder / "spans.jsonl", rows)


def squad(folder: Path) -> Path:
    draw = random.Random(6)
    articles = []
    for index in range(ROWS // 3):
        good, bad, rest = draw.choice(GOOD), draw.choice(BAD), " ".join(draw.choices(FILLER, k=6))
        context = f"the film was {good} and the story was {bad} {rest} {index}"
        asked = [("was the film so", good), ("was the story so", bad)]
        questions = [
            {"id": f"{index}-{number}", "question": question, "answers": [{"text": answer, "answer_start": context.index(answer)}]}
            for number, (question, answer) in enumerate(asked)
        ]
        articles.append({"title": f"t{index}", "paragraphs": [{"context": context, "qas": questions}]})
    (folder / "asked.json").write_text(json.dumps({"version": "1", "data": articles}), encoding="utf-8")
    return folder / "asked.json"


def corpus(folder: Path) -> Path:
    (folder / "corpus.txt").write_text("".join(f"{text}\n" for _, text, _ in texts()), encoding="utf-8")
    return folder / "corpus.txt"


def _grey(level: int, index: int) -> bytes:
    draw = random.Random(index)
    return bytes(level + draw.randrange(-30, 30) for _ in range(64))


def _write_image(file: Path, level: int, index: int) -> None:
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("L", (8, 8), _grey(level, index)).save(file)


def folders(folder: Path) -> Path:
    for name, level in BRIGHT.items():
        for index in range(ROWS // 2):
            _write_image(folder / "photos" / name / f"{index:03}.png", level, index + level * 1000)
    return folder / "photos"


def named_images(folder: Path) -> Path:
    rows = [["file", "kind"]]
    for index in range(40):
        name = list(BRIGHT)[index % 2]
        _write_image(folder / "pictures" / f"{index}.png", BRIGHT[name], index)
        rows.append([f"pictures/{index}.png", name])
    return rows_of(folder / "index.csv", rows)


def idx(folder: Path) -> Path:
    images = b"".join(_grey(list(BRIGHT.values())[index % 2], index) for index in range(ROWS))
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, ROWS, 8, 8) + images)
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, ROWS) + bytes(index % 2 for index in range(ROWS)))
    return folder / "train-images-idx3-ubyte"


MASKED = "masked-language-modeling"
UNNAMED = ["sentence1", "sentence2", "score"]
MULTI = ("binary-kl", "bce")
SAMPLES = {
    "classes": Sample(write=single, task="text-classification", data={"text": "review", "label": "verdict"}, also=(MASKED,)),
    "pairs": Sample(write=pairs, task="text-classification", data={"text": "premise", "pair": "hypothesis", "label": "gold_label"}, also=(MASKED,)),
    "opened": Sample(write=opened, task="text-classification", data={"columns": ["label", "text"], "text": "text", "label": "label"}, also=(MASKED,)),
    "sets": Sample(
        write=sets,
        task="multi-label-classification",
        data={"columns": ["text", "labels", "id"], "text": "text", "label": "labels"},
        also=("text-classification", MASKED),
        losses=MULTI,
    ),
    "lists": Sample(write=lists, task="multi-label-classification", data={"text": "text", "label": "labels"}, also=(MASKED,), losses=MULTI),
    "scored": Sample(
        write=scored,
        task="text-regression",
        data={"columns": UNNAMED, "text": "sentence1", "pair": "sentence2", "label": "score"},
        also=("sentence-embedding", MASKED),
        losses=("mse", "label-mse"),
    ),
    "rated": Sample(write=rated, task="text-regression", data={"text": "text", "label": "rating"}, also=(MASKED,), losses=("mse", "label-mse")),
    "embedded": Sample(
        write=scored,
        named="sentence-embedding",
        task="sentence-embedding",
        data={"columns": UNNAMED, "text": "sentence1", "pair": "sentence2", "label": "score"},
        also=("text-regression", MASKED),
        losses=("embedding-cosine", "similarity"),
    ),
    "conll": Sample(write=conll, task="token-classification", data={"text": "words", "label": "tags"}),
    "tagged": Sample(write=tagged, task="token-classification", data={"text": "words", "label": "tags"}),
    "spans": Sample(write=spans, task="token-classification", data={"text": "text", "label": "slots"}, also=(MASKED,)),
    "squad": Sample(
        write=squad, task="question-answering", data={"text": "context", "pair": "question", "label": "answers", "max_length": 256}, also=(MASKED,)
    ),
    "corpus": Sample(write=corpus, task=MASKED, data={"text": "text"}),
    "folders": Sample(write=folders, task="image-classification", data={"image": "image", "label": "label"}),
    "named_images": Sample(write=named_images, task="image-classification", data={"image": "file", "label": "kind"}),
    "idx": Sample(write=idx, task="image-classification", data={"image": "image", "label": "label"}),
}
