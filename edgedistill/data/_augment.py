"""Changed versions of a list of words: some left out, two stretches exchanged, some put in another's place.

Augmenting does not need labels here, because the teacher labels what comes out; what it must do is leave the manifold that the training
rows are on only a little, so that no single word or place decides (Jiao et al. 2020, arXiv:1909.10351, section 4.4, measure what it gives).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numpy.random import Generator


def left_out(words: Sequence[str], share: float, random: Generator) -> list[str]:
    """Each word is left out with chance `share`, independently; where that would leave nothing, one word drawn evenly stays.

    Random deletion of Wei and Zou 2019, arXiv:1901.11196, section 2: the answer must not hang on one word being there.
    """
    kept = [word for word, draw in zip(words, random.random(len(words)), strict=True) if draw >= share]
    return kept if kept or not words else [words[int(random.integers(len(words)))]]


def exchanged(words: Sequence[str], share: float, random: Generator) -> list[str]:
    """Two stretches of one length that do not overlap change places; together they are `share` of the words, at least one word each.

    Random swap of Wei and Zou 2019, arXiv:1901.11196, section 2, on stretches instead of single words: the answer must not hang on where a
    phrase stands, while the words inside it keep their order. Fewer than two words, or a share of 0, stay as they are.
    """
    count = len(words)
    if share <= 0 or count < 2:
        return list(words)
    size = min(max(1, round(share * count / 2)), count // 2)
    first, later = sorted(int(draw) for draw in random.integers(count - 2 * size + 1, size=2))  # how many other words stand before each
    second = later + size
    middle = words[first + size : second]
    return [*words[:first], *words[second : second + size], *middle, *words[first : first + size], *words[second + size :]]


def replaced(text: str, places: Sequence[tuple[int, int]], new: Mapping[int, str]) -> str:
    """A text with other words at some of its `places`; everything between them stays as it is."""
    parts, at = [], 0
    for index, (start, end) in enumerate(places):
        parts += [text[at:start], new.get(index, text[start:end])]
        at = end
    return "".join([*parts, text[at:]])


def drawn(candidates: Mapping[int, Sequence[str]], chosen: Sequence[int], random: Generator) -> dict[int, str]:
    """For each chosen word that has candidates, one of them, drawn evenly (Jiao et al. 2020, arXiv:1909.10351, algorithm 1, line 13)."""
    return {index: found[int(random.integers(len(found)))] for index in chosen if (found := candidates.get(index))}
