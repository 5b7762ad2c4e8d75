"""Seconds and bytes of one piece of work: texts through a model, with or without a gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgedistill.estimate.body import Body
from edgedistill.estimate.speed import Kind, Speed
from edgedistill.spec import Schedule

PADDING = 1.05  # batches are of like length, not of equal length
STATE = 16  # bytes of a weight in training: itself, its gradient, and the optimiser's two moments
KEPT = 60  # bytes of an activation for each token, layer and unit of width: what a gradient needs, measured in benchmarks/LOG.md
SCORES, EAGER = 0.3, 128  # and as many more for each token of the text where attention is eager, up to so many tokens (training/models)
PROGRAM = 400_000_000  # bytes of what a build has loaded besides torch and transformers: tables, splits, the encoded texts
EMULATED = 110  # times as long as here, measured in benchmarks/LOG.md
LABELLED = 128  # texts that are labelled at once
PART_TOKENS = 4096  # that go through a model at once, as in training/batches
DROPPED = 1.3  # times as long where dropout draws its masks (benchmarks/LOG.md)
STEP_S = 0.01  # of a step that is not arithmetic: collating, reading the loss, drawing the bar


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step takes: seconds of this machine, and bytes of memory at its peak."""

    seconds: float
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """So many `rows`, whose `lengths` in tokens are evenly spaced quantiles."""

    rows: float
    lengths: tuple[int, ...] = field(default=())

    def part(self, rows: float) -> Texts:
        """As many of them."""
        return Texts(rows=max(rows, 1.0), lengths=self.lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is known where costs are asked: the machine, and the length that texts are cut to."""

    speed: Speed
    max_length: int
    windows: bool = False  # longer texts are read in several

    def _text(self, body: Body, tokens: int, kind: Kind) -> float:
        """Seconds for one text of so many tokens."""
        whole, rest = divmod(tokens, self.max_length) if self.windows else (0, min(tokens, self.max_length))
        seconds = whole * self.speed.seconds(body, self.max_length, kind) if whole else 0.0
        return seconds + (self.speed.seconds(body, rest, kind) if rest else 0.0)

    def through(self, body: Body, texts: Texts, kind: Kind) -> float:
        """Seconds for all texts through a model."""
        each = [self._text(body, length, kind) for length in texts.lengths]
        return PADDING * texts.rows * sum(each) / max(len(each), 1)

    def emulated(self, body: Body, texts: Texts) -> float:
        """Seconds for all texts on another CPU's kernels under emulation, int8 and with as many at once as there are cores."""
        return EMULATED * self.through(body, texts, "run_s")

    def training(self, body: Body, texts: Texts, validation: Texts, schedule: Schedule) -> Cost:
        """A training, with its evaluations."""
        steps = max(1.0, schedule.epochs * texts.rows / schedule.batch_size)
        longest = min(max(texts.lengths, default=1), self.max_length)
        parts = max(1.0, schedule.batch_size * longest / PART_TOKENS)
        seconds = schedule.epochs * self.through(body, texts, "train_s") * (DROPPED if schedule.dropout else 1.0)
        seconds += steps * (body.parameters * self.speed.optimizer_s + parts * STEP_S)
        seconds += schedule.evaluations * self.through(body, validation, "run_s")
        return Cost(seconds, self._held(STATE * body.parameters, body.layers * body.width, min(PART_TOKENS, schedule.batch_size * longest), longest))

    def _held(self, weights: float, units: int, tokens: int, longest: int) -> float:
        """Bytes at the peak: the program, the weights, and what is kept of so many tokens in `units` of width."""
        scores = SCORES * longest if longest <= EAGER else 0.0
        return self.speed.base_bytes + PROGRAM + weights + (KEPT + scores) * units * tokens

    def labelling(self, body: Body, texts: Texts) -> Cost:
        """What the teacher says of texts."""
        longest = min(max(texts.lengths, default=1), self.max_length)
        return Cost(self.through(body, texts, "run_s"), self._held(4 * body.parameters, body.width, LABELLED * min(longest, EAGER), longest))
