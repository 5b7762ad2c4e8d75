"""What a first recipe can ask for so that its build ends within half an hour on this machine: length of the texts, rows, steps, layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from edgedistill import estimate
from edgedistill.data import Guess
from edgedistill.estimate import Body, Cost, Speed, Texts, Work
from edgedistill.init._plans import TEXT_TEACHER, WINDOW, Plan
from edgedistill.spec import Schedule

LIMIT_S = 1800.0  # of a build
AIM = 0.95  # of the limit: trainings mostly stop early, and an estimate is one
EMULATED_CPUS, EMULATED_ROWS = 2, 256  # what `check` emulates for a phone
TEACHER = Body(layers=6, width=384, intermediate=1536, vocabulary=30_522, positions=512)  # the model that every text recipe begins with
VOCABULARY = 16_000  # of its student
REST_S = 120.0  # two exports, the search, the check and the report
SHORTEST = 64  # tokens: below that little is left of a text that was longer
SHARES = (1.0, 0.7, 0.5, 0.35)  # of the steps that a training would like
LAST_SHARES = (0.35, 0.2, 0.1, 0.05, 0.02)  # with a student of two layers, where nothing else fits
DRAWS = (100_000, 50_000, 20_000, 10_000, 5_000, 2_000)  # rows of a file that is larger
TEACH_BATCH, ROUND_BATCH = 32, 64
TEACH_STEPS, ROUND_STEPS = 600, 2_000  # what a fine-tuning and a distillation of this size want, whatever the number of rows
SMALL, MOST_COPIES = 12_000, 8  # training rows that augmenting makes of fewer, and how often it changes a row at most
UNDROPPED = 3  # epochs of a teacher that do not overfit without dropout (benchmarks/LOG.md)
FEWEST, TEACH_MOST, ROUND_MOST = 2, 20, 60  # epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a recipe asks for: `tokens` of a text, `rows` of the file (None: all), changed `copies` of each, epochs, the student's layers.

    `share` is that of the steps which the trainings would like. `costs` are by stage, empty where nothing is known of the teacher; `whole_s`
    is what the build would take with nothing given up.
    """

    tokens: int
    rows: int | None
    copies: int
    share: float
    teach_epochs: int
    round_epochs: int
    layers: tuple[int, ...]
    costs: Mapping[str, Cost]
    whole_s: float = 0.0

    @property
    def dropout(self) -> float:
        """Of the teacher's fine-tuning: drawing the masks takes a quarter of the time."""
        return 0.0 if self.teach_epochs <= UNDROPPED else 0.1

    @property
    def hurried(self) -> bool:
        """Whether steps were given up: fewer of them want to be larger."""
        return self.share < 1

    @property
    def seconds(self) -> float:
        """Of the whole build."""
        return sum(cost.seconds for cost in self.costs.values())


def choose(guess: Guess, plan: Plan, shares: tuple[float, float], speed: Speed) -> Choice:
    """The first of what could be asked for that fits; `shares` of the rows are held out for test and validation."""
    if plan.model != TEXT_TEACHER or not guess.lengths:
        return _choice(guess, plan, shares, None, guess.tokens, None, 1.0, (0, 1, 2))
    tried = [_choice(guess, plan, shares, speed, *asked) for asked in _ladder(guess)]
    fitting = next((one for one in tried if one.seconds <= AIM * LIMIT_S), tried[-1])
    return replace(fitting, whole_s=tried[0].seconds)


def _ladder(guess: Guess) -> Iterator[tuple[int, int | None, float, tuple[int, ...]]]:
    """Tokens, rows, the share of the steps and the layers, the best first: length goes before rows, and steps before length."""
    lengths = [guess.tokens]
    while lengths[-1] // 2 >= SHORTEST:
        lengths.append(lengths[-1] // 2)
    for rows in (None, *(draw for draw in DRAWS if draw < guess.rows)):
        for tokens in lengths:
            yield from ((tokens, rows, share, (0, 1, 2)) for share in SHARES)
    fewest = DRAWS[-1] if guess.rows > DRAWS[-1] else None
    yield from ((lengths[-1], fewest, share, (0, 1)) for share in LAST_SHARES)


def _choice(
    guess: Guess,
    plan: Plan,
    shares: tuple[float, float],
    speed: Speed | None,
    tokens: int,
    rows: int | None,
    share: float,
    layers: tuple[int, ...],
) -> Choice:
    count = rows or guess.rows
    train = max(1.0, count * (1 - sum(shares)))
    copies = min(MOST_COPIES, max(0, round(SMALL / train) - 1)) if plan.augmented and share >= SHARES[-1] else 0
    asked = Choice(
        tokens=tokens,
        rows=rows,
        copies=copies,
        share=share,
        teach_epochs=_epochs(train, TEACH_BATCH, share * TEACH_STEPS, TEACH_MOST),
        round_epochs=_epochs(train * (1 + copies), ROUND_BATCH, share * ROUND_STEPS, ROUND_MOST),
        layers=layers,
        costs={},
    )
    return asked if speed is None else replace(asked, costs=_costs(guess, plan, shares, speed, asked))


def _costs(guess: Guess, plan: Plan, shares: tuple[float, float], speed: Speed, asked: Choice) -> dict[str, Cost]:
    work = Work(speed=speed, max_length=asked.tokens, windows=plan.length == WINDOW)
    count = asked.rows or guess.rows
    every = Texts(rows=count, lengths=guess.lengths)
    train, validation, test = every.part(count * (1 - sum(shares))), every.part(count * shares[1]), every.part(count * shares[0])
    copied = train.part(train.rows * (1 + asked.copies))
    student = replace(TEACHER, layers=len(asked.layers), vocabulary=VOCABULARY)
    rest = REST_S + 4 * work.through(student, test, "run_s")
    rest += EMULATED_CPUS * work.emulated(student, test.part(min(EMULATED_ROWS, test.rows)))
    taught = work.training(TEACHER, train, validation, Schedule(epochs=asked.teach_epochs, batch_size=TEACH_BATCH, dropout=asked.dropout))
    return {
        **({"teach": taught} if plan.taught else {}),
        "label": work.labelling(TEACHER, copied),
        "distil": work.training(student, copied, validation, Schedule(epochs=asked.round_epochs, batch_size=ROUND_BATCH)),
        "the rest": Cost(rest, work.labelling(TEACHER, test).bytes),
    }


def _epochs(rows: float, batch: int, steps: float, most: int) -> int:
    return min(max(math.ceil(steps * batch / rows), FEWEST), most)


def sentence(choice: Choice) -> str:
    """Time and memory of the build, in one line."""
    most = max((cost.bytes for cost in choice.costs.values()), default=0.0)
    return f"about {estimate.duration(choice.seconds)} and {estimate.memory(most)} of memory"
