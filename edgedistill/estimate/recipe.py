"""The cost of every step of a plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedistill import plugins
from edgedistill.estimate.body import Body, body_of, student_of
from edgedistill.estimate.cost import PROGRAM, Cost, Texts, Work
from edgedistill.estimate.speed import Speed, known, measured, typical
from edgedistill.spec import Recipe, Schedule, Step

WORTH_S = 240.0  # of a build: below it a few seconds of measuring are not worth it
START_S = 8.0  # importing torch and loading a model
READ_S = 0.0005  # of a row: reading, checking, splitting
LEFT = 0.8  # of the most that a step has held, which its process still holds in later ones (benchmarks/LOG.md)
TRIAL_STEPS, TRIALS = 200, 3  # of `layers = "auto"`
LADDER_ROWS = 256  # of the test split, through torch, fp32 and the chosen file
JUDGED = 576  # validation rows that a candidate answers at most
CANDIDATES = 6  # that a profile's search tries, about


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all steps of a recipe share."""

    recipe: Recipe
    work: Work
    teacher: Body
    student: Body
    train: Texts
    validation: Texts
    test: Texts
    transfer: Texts


def told(recipe: Recipe, steps: Sequence[Step], todo: Collection[str], *, measure: bool | None = None) -> tuple[dict[str, Cost], bool]:
    """The cost of each step that is `todo` by its key, and whether this machine was measured for it. `steps` are all of a plan.

    It is measured now where `measure` says so, or, where that is None, where a typical machine would take minutes. Raises ConfigError where
    the data cannot be read.
    """
    speed = known()
    found = costs(recipe, steps, todo, speed or typical())
    if speed is None and (measure or (measure is None and sum(cost.seconds for cost in found.values()) > WORTH_S)):
        speed = measured()
        found = costs(recipe, steps, todo, speed) if speed else found
    return found, speed is not None


def costs(recipe: Recipe, steps: Sequence[Step], todo: Collection[str], speed: Speed) -> dict[str, Cost]:
    """The cost of each step that is `todo` by its key; nothing of a step that nothing is known of.

    Empty where the teacher's config or the data are not at hand, or the teacher is not one stack of transformer layers. Raises ConfigError
    where the data cannot be read.
    """
    wanted = {step.key: step for step in steps if step.key in todo and step.stage in STAGES}
    setting = _setting(recipe, steps, speed) if wanted else None
    return {} if setting is None else _in_one_process({key: STAGES[step.stage](setting, step) for key, step in wanted.items()}, speed)


def _in_one_process(alone: Mapping[str, Cost], speed: Speed) -> dict[str, Cost]:
    """Costs of steps that one process takes after each other: each begins with what those before have left."""
    found: dict[str, Cost] = {}
    most = 0.0
    for key, cost in alone.items():
        held = max(cost.bytes, LEFT * most + cost.bytes - speed.base_bytes - PROGRAM)
        found[key], most = Cost(cost.seconds, held), max(most, held)
    return found


def _setting(recipe: Recipe, steps: Sequence[Step], speed: Speed) -> Setting | None:
    from edgedistill.estimate import sample  # numpy, which `init` does without

    places = {role: place for step in steps for role, place in step.places.items()}
    config = Path(places["teacher"]) / "config.json"
    if any(place.startswith("hub:") for place in places.values()) or not config.is_file():
        return None
    teacher = body_of(json.loads(config.read_text(encoding="utf-8")))
    if teacher is None or (not teacher.patches and "image" in plugins.load("tasks", recipe.task).COLUMNS):
        return None
    train, validation, test = sample.labelled(recipe, places)
    transfer = sample.transfers(recipe, places)
    length = teacher.patches or recipe.data.max_length
    if teacher.patches:
        train, validation, test, transfer = (Texts(rows=one.rows, lengths=(length,)) for one in (train, validation, test, transfer))
    return Setting(
        recipe=recipe,
        work=Work(speed=speed, max_length=length),
        teacher=teacher,
        student=student_of(recipe.student, teacher),
        train=train,
        validation=validation,
        test=test,
        transfer=transfer,
    )


def _mixed(setting: Setting) -> Texts:
    """Everything that a round sees in an epoch."""
    copies = setting.recipe.augment.copies if setting.recipe.augment else 0
    rows = setting.train.rows * (1 + copies)
    whole = rows + setting.transfer.rows
    share = rows / whole
    long, other = setting.train.lengths, setting.transfer.lengths or setting.train.lengths
    return Texts(rows=whole, lengths=(*long * round(20 * share), *other * round(20 * (1 - share))) or long)


def _train(setting: Setting, body: Body, texts: Texts, schedule: Schedule) -> Cost:
    return setting.work.training(body, texts, setting.validation, schedule)


def _prepare(setting: Setting, step: Step) -> Cost:
    return Cost(START_S + READ_S * (setting.train.rows + setting.transfer.rows), setting.work.speed.base_bytes)


def _teach(setting: Setting, step: Step) -> Cost:
    schedule = setting.recipe.teach
    return _late(_train(setting, setting.teacher, setting.train, schedule)) if schedule else _loaded(setting, setting.teacher)


def _label(setting: Setting, step: Step) -> Cost:
    return _late(setting.work.labelling(setting.teacher, _mixed(setting)))


def _student(setting: Setting, step: Step) -> Cost:
    if setting.recipe.student.layers != "auto":
        return _loaded(setting, setting.teacher)
    schedule = setting.recipe.rounds[0].schedule
    whole = _train(setting, setting.student, _mixed(setting), schedule)
    share = min(1.0, TRIAL_STEPS * schedule.batch_size / (schedule.epochs * _mixed(setting).rows))
    return _late(Cost(TRIALS * share * whole.seconds, whole.bytes))


def _pretrain(setting: Setting, step: Step) -> Cost:
    assert setting.recipe.pretrain is not None
    return _late(_train(setting, setting.student, _mixed(setting), setting.recipe.pretrain.schedule))


def _distil(setting: Setting, step: Step) -> Cost:
    training, alone = step.params.round, step.params.labelled_only
    texts = setting.train if alone else _mixed(setting)
    cost = _train(setting, setting.student, texts, training.schedule)
    if any(map(_reads_along, training.losses)):
        seconds = training.schedule.epochs * setting.work.through(setting.teacher, texts, "run_s")
        cost = Cost(cost.seconds + seconds, cost.bytes + 4 * setting.teacher.parameters)
    return _late(cost)


def _reads_along(loss: str) -> bool:
    """Whether the teacher is in memory for a loss; from its source, because importing a loss brings torch."""
    return "\nNEEDS = " in (plugins.PACKAGE / "losses" / f"{loss.replace('-', '_')}.py").read_text(encoding="utf-8")


def _export(setting: Setting, step: Step) -> Cost:
    """Two graphs and their answers to the test split; which of the two models it is matters little."""
    whole = setting.work.through(setting.student, setting.test, "run_s")
    return _late(Cost(2 * whole, setting.work.speed.base_bytes + 16 * setting.student.parameters))


def _quantize(setting: Setting, step: Step) -> Cost:
    judged = setting.validation.part(min(setting.validation.rows, JUDGED))
    seconds = CANDIDATES * setting.work.through(setting.student, judged, "run_s")
    return Cost(START_S + 2 * seconds, setting.work.speed.base_bytes + 24 * setting.student.parameters)


def _check(setting: Setting, step: Step) -> Cost:
    seconds = 2 * setting.work.through(setting.student, setting.test, "run_s")
    ladder = 3 * setting.work.through(setting.student, setting.test.part(min(LADDER_ROWS, setting.test.rows)), "run_s")
    emulated = len(step.params.emulated) * setting.work.emulated(setting.student, setting.test.part(min(step.params.rows, setting.test.rows)))
    return Cost(seconds + ladder + emulated + START_S, setting.work.speed.base_bytes + 16 * setting.student.parameters)


def _loaded(setting: Setting, body: Body) -> Cost:
    return Cost(START_S, setting.work.speed.base_bytes + 8 * body.parameters)


def _augment(setting: Setting, step: Step) -> Cost:
    """Changing words takes next to nothing; a masked language model that puts some in reads each row once for every word that it changes."""
    augment = setting.recipe.augment
    read = augment.substitute * sum(setting.train.lengths) / max(len(setting.train.lengths), 1) if augment else 0.0
    seconds = read * setting.work.through(setting.teacher, setting.train, "run_s")
    return Cost(START_S + seconds, setting.work.speed.base_bytes + (8 * setting.teacher.parameters if read else 0))


def _late(cost: Cost) -> Cost:
    return Cost(cost.seconds + START_S, cost.bytes)


STAGES: Mapping[str, Callable[[Setting, Step], Cost]] = {
    "prepare": _prepare,
    "augment": _augment,
    "teach": _teach,
    "label": _label,
    "student": _student,
    "pretrain": _pretrain,
    "distil": _distil,
    "export": _export,
    "quantize": _quantize,
    "check": _check,
}
