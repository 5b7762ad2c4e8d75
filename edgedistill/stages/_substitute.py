"""What a masked language model would put in the place of a word, for `augment`.

Jiao et al. 2020, arXiv:1909.10351, algorithm 1: a word that is one piece is hidden, and the K likeliest words there are its candidates. For
a word of several pieces the paper asks GloVe for its neighbours; here it stays as it is, because word vectors would be one more model to
have. Each word is hidden alone in the unchanged text, so that what is put in for one does not depend on what was put in for another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import runtime
from edgedistill.errors import ConfigError, Fault
from edgedistill.tasks import Row
from edgedistill.tasks import masked_language_modeling as task
from edgedistill.tasks._words import Span, inside, pieces_of
from edgedistill.training import models

CANDIDATES = 15  # K in the paper's section 4.1
LOOKED_AT = 4 * CANDIDATES  # pieces, of which those that are no whole word are passed over
BATCH = 32
MARKS = ("Ġ", "▁")  # what begins a word in byte-level BPE and in SentencePiece; WordPiece marks what does not begin one


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A text, where its words are, and the words (by number) that something is wanted for."""

    text: str
    places: Sequence[Span]
    words: Sequence[int]


class Substitutes:
    """A masked language model and its tokenizer. Raises ConfigError where the folder has no such head, or its tokenizer no mask."""

    def __init__(self, folder: Path, max_length: int) -> None:
        from edgedistill.training.loop import accelerator

        self.model = models.load_model(task.AUTO_CLASS, folder).to(accelerator().device).eval()
        self.tokenizer = models.load_encoder(task, folder)
        self.tokenizer.enable_truncation(max_length, direction=runtime.side(self.tokenizer))
        try:
            self.mask = task.mask_id(self.tokenizer)
        except ValueError as error:
            raise ConfigError([Fault("augment.model", str(error), "name a masked language model")]) from error
        self.words = whole_words(self.tokenizer)

    def of(self, asked: Sequence[Asked], seen: Callable[[int], None] = lambda done: None) -> list[dict[int, list[str]]]:
        """For each text the candidates of each word that has some, likeliest first; the word itself is none of its own."""
        wanted = [(index, *one) for index, text in enumerate(asked) for one in self._rows(text)]
        found: list[dict[int, list[str]]] = [{} for _ in asked]
        done = 0
        for batch in runtime.by_length([row for _, _, row in wanted], BATCH) if wanted else []:
            likeliest = self._likeliest([wanted[at][2] for at in batch])
            for at, pieces in zip(batch, likeliest, strict=True):
                index, word, _ = wanted[at]
                start, end = asked[index].places[word]
                names = [self.words[piece] for piece in pieces if piece in self.words]
                found[index][word] = [name for name in names if name.casefold() != asked[index].text[start:end].casefold()][:CANDIDATES]
            done += len(batch)
            seen(done)
        return found

    def _rows(self, asked: Asked) -> Iterator[tuple[int, Row]]:
        if not asked.words:
            return
        encoding = self.tokenizer.encode(asked.text)
        pieces = pieces_of(asked.places, encoding.offsets, inside(encoding, 0))
        for word in asked.words:
            place = pieces[word]
            if place is not None and place[0] == place[1] and any(map(str.isalpha, asked.text[slice(*asked.places[word])])):
                ids = list(encoding.ids)
                ids[place[0]] = self.mask
                yield word, Row(ids=ids, at=[place[0]])

    def _likeliest(self, rows: Sequence[Row]) -> Any:
        import torch

        device = self.model.device
        inputs = {name: torch.from_numpy(value).to(device) for name, value in task.feeds(rows, models.pad_id(self.model)).items()}
        with torch.inference_mode():
            logits = task.forward(self.model, models.accepted(self.model, inputs))  # [b, s, v]
            picked = logits[np.arange(len(rows)), [row.at[0] for row in rows]]  # [b, v]
        return picked.topk(min(LOOKED_AT, picked.shape[1])).indices.tolist()


def whole_words(tokenizer: Any) -> dict[int, str]:
    """The pieces that are words of letters by themselves, as they are written in a text."""
    pieces = tokenizer.get_vocab()
    marked = any(piece.startswith(MARKS) and len(piece) > 1 for piece in pieces)
    first = {number for piece, number in pieces.items() if (piece.startswith(MARKS) if marked else not piece.startswith("##"))}
    texts = {number: tokenizer.decode([number], skip_special_tokens=True).strip() for number in first}
    return {number: text for number, text in texts.items() if text.isalpha()}
