"""What columns are usually called, and how telling a name is."""

from __future__ import annotations

import re

TEXTS = ("text", "sentence", "utterance", "review", "query", "message", "content", "body", "comment", "document")
LABELS = ("label", "category", "intent", "class", "sentiment", "target", "topic", "emotion", "tag")
SCORES = ("score", "similarity", "rating", "relatedness", "star", "grade", "label", "target", "value")
WORDS = ("word", "token", "form")
TAGS = ("tag", "ner_tag", "ner", "upos", "pos_tag", "pos", "label", "slot", "entity", "entities", "span")
QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph", "document", "text")
IMAGES = ("image", "picture", "photo", "file", "path")
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("query", "document"),
    ("anchor", "positive"),
)
SIDE = re.compile(r"(.*?)[ _.-]?([12ab])", re.IGNORECASE)


def hint(name: str, known: tuple[str, ...]) -> int:
    """How telling a column's name is: the name itself, earlier ones first, then as a part of it, then not at all."""
    lowered = name.strip().lower()
    for worth, exact in ((200, True), (100, False)):
        for rank, one in enumerate(known):
            if lowered in (one, f"{one}s") if exact else one in lowered:
                return worth - rank
    return 0


def is_known(name: str) -> bool:
    """Whether a column is often called just so."""
    every = {*TEXTS, *LABELS, *SCORES, *WORDS, *TAGS, *QUESTIONS, *CONTEXTS, *IMAGES, "id", *(side for pair in PAIRS for side in pair)}
    lowered = name.strip().lower()
    return lowered in every or lowered.removesuffix("s") in every


def paired(first: str, second: str) -> bool:
    """Whether two names are the two sides of a pair: known ones, or the same but for 1 and 2, a and b at the end."""
    plain = tuple(re.sub(r"[ _.-]", "", name.lower()) for name in (first, second))
    if plain in PAIRS:
        return True
    one, other = SIDE.fullmatch(first.strip()), SIDE.fullmatch(second.strip())
    return bool(one and other and one[1].lower() == other[1].lower() and (one[2] + other[2]).lower() in ("12", "ab"))
