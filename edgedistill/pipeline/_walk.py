"""Walk the steps of every target: what is in the store is taken, what is not is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import packages, plugins
from edgedistill.cache import Store
from edgedistill.errors import ConfigError, EdgedistillError, Fault, GateError, IntegrityError, StageError
from edgedistill.pipeline._plan import plan
from edgedistill.progress import Progress, Tell
from edgedistill.spec import Artifact, Inputs, Recipe, Step, Target

PER_TARGET = ("quantize", "check", "pack")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One target's walk: the artifact of every step, in the order of the steps; the last is the bundle's."""

    target: Target
    artifacts: tuple[Artifact, ...]

    def of(self, stage: str) -> Artifact:
        """The last artifact of a stage."""
        return [artifact for artifact in self.artifacts if artifact.stage == stage][-1]

    @property
    def bundle(self) -> Path:
        """The bundle's folder."""
        packed = self.artifacts[-1]
        return packed.path / str(packed.facts["bundle"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A target that got no bundle, and why."""

    target: Target
    error: EdgedistillError


def build(
    recipe: Recipe,
    targets: Sequence[Target],
    base: Path,
    store: Store,
    tell: Tell,
    announce: Callable[[Collection[Sequence[Step]]], None] = lambda plans: None,
) -> list[Done | Refused]:
    """Walk the steps of every target; steps that targets share are walked once. `announce` hears of the plans before the first.

    A step of one target alone that fails refuses that target, and the others go on. Raises ConfigError with every fault that can be seen
    before anything runs, StageError when a step fails that all of them need.
    """
    plans = {target.name: plan(recipe, target, base) for target in targets}
    require(recipe, plans.values(), store)
    announce(plans.values())
    made: dict[str, Artifact] = {}
    results: list[Done | Refused] = []
    for target in targets:
        try:
            for step in plans[target.name]:
                if step.key not in made:
                    made[step.key] = _walk(step, made, store, tell)
        except (StageError, IntegrityError) as error:
            if step.stage not in PER_TARGET:
                raise
            Progress(tell, step.stage).warn(f"{target.name} is refused: {error}")
            results.append(Refused(target=target, error=error))
        else:
            results.append(Done(target=target, artifacts=tuple(made[step.key] for step in plans[target.name])))
    return results


def hold_gates(results: Sequence[Done | Refused]) -> None:
    """Raise StageError with every target that was refused, else GateError with every gate that does not hold; the bundles are there all the same."""
    refused = [one for one in results if isinstance(one, Refused)]
    if refused:
        lines = "\n".join(f"  - {one.target.name}: {one.error}" for one in refused)
        raise StageError(f"{len(refused)} of {len(results)} targets got no bundle:\n{lines}")
    broken = [(done, verdict) for done in results if isinstance(done, Done) for verdict in done.of("check").facts["verdicts"] if not verdict["ok"]]
    if broken:
        lines = "\n".join(f"  - {done.target.name}: {verdict['sentence']}" for done, verdict in broken)
        kept = ", ".join(dict.fromkeys(str(done.bundle) for done, _ in broken))
        raise GateError(f"{len(broken)} gate(s) do not hold:\n{lines}", hint=f"the bundle is kept: {kept}")


def unmade(plans: Collection[Sequence[Step]], store: Store) -> list[Step]:
    """The steps that are to do, each once."""
    return list({step.key: step for steps in plans for step in steps if store.find(step) is None}.values())


MODELS = {"teacher": "teacher.model", "student": "student.model", "augmenter": "augment.model"}  # roles of places that are models, as a recipe says
WHOSE = {"teacher": "the teacher", "student": "the student", "augmenter": "augment.model"}
NEEDS: Mapping[str, Sequence[str]] = {  # modules beyond the base install's, which a step may ask for only after hours of training
    "prepare": ("pyarrow",),
    "teach": ("accelerate", "safetensors", "torch", "transformers"),
    "distil": ("accelerate", "safetensors", "torch", "transformers"),
    "export": ("onnx", "sympy"),
    "quantize": ("onnx",),
    "check": ("scipy",),
}
DEEP = ("augment", "teach", "student", "distil")  # stages whose demands only transformers and torch can judge


def require(recipe: Recipe, plans: Collection[Sequence[Step]], store: Store, *, deep: bool = True) -> None:
    """Raise ConfigError with everything that can be seen to be wrong before anything runs, in the steps that are to do.

    Without `deep` neither transformers nor torch is imported: of models only the files of their folders are looked at.
    """
    if deep:
        packages.need("this build", *{name for step in unmade(plans, store) for name in NEEDS.get(step.stage, ())})
    faults: list[Fault] = []
    for step in unmade(plans, store):
        try:
            if step.stage in DEEP and not deep:
                faults += _folder_faults(step)
                continue
            faults += plugins.load("stages", step.stage).requires(step.params, step.places)
            faults += _round_faults(recipe, plans) if step.stage == "distil" else []
        except ConfigError as error:
            faults += error.faults
        except ImportError as error:
            raise packages.blamed(f"the step '{step.stage}'", error) from error
    if faults:
        raise ConfigError(dict.fromkeys(faults))


def _folder_faults(step: Step) -> list[Fault]:
    """What the model folders of a step lack."""
    from edgedistill.training import models

    task = plugins.load("tasks", step.params.task)
    faults: list[Fault] = []
    for role, where in MODELS.items():
        place = step.places.get(role, "hub:")
        if not place.startswith("hub:"):
            faults += models.folder_faults(where, Path(place)) or models.text_faults(task, Path(place), step.params.max_length, WHOSE[role])
    return faults


def _round_faults(recipe: Recipe, plans: Collection[Sequence[Step]]) -> list[Fault]:
    """Losses that do not suit the task, their options, or the two models as far as their configs are at hand."""
    from edgedistill.stages import _meeting
    from edgedistill.stages._terms import option_faults, suit_faults
    from edgedistill.training import models

    task = plugins.load("tasks", recipe.task)
    teacher = next(step.places["teacher"] for steps in plans for step in steps if "teacher" in step.places)
    at_hand = not teacher.startswith("hub:") and not models.folder_faults("", Path(teacher))
    config = models.full_config(Path(teacher)) if at_hand else {}
    faults: list[Fault] = []
    for index, training in enumerate(recipe.rounds):
        where = f"rounds.{index}"
        found = option_faults(where, training.losses) + suit_faults(where, training.losses, task, training.confidence)
        faults += found + (_meeting.faults(where, training.losses, recipe.student, config) if config else [])
    return faults


def _walk(step: Step, made: Mapping[str, Artifact], store: Store, tell: Tell) -> Artifact:
    progress = Progress(tell, step.stage)
    found = store.find(step)
    if found is not None:
        progress.end("cached")
        return found
    stage = plugins.load("stages", step.stage)
    inputs = Inputs(artifacts={role: made[need.key] for role, need in step.needs.items()}, places=step.places)

    def run(out: Path) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = stage.run(step.params, inputs, out, progress)
        stage.ensures(out)
        return facts

    progress.begin()
    try:
        artifact = store.fill(step, run)
    except EdgedistillError:
        raise
    except KeyboardInterrupt:
        progress.warn("stopped; the same command goes on from here")
        raise
    except ImportError as error:
        raise packages.blamed(f"the step '{step.stage}'", error) from error
    except OSError as error:
        raise StageError(f"the step '{step.stage}' failed: {error}", hint="the same command goes on from here") from error
    progress.end(f"{artifact.receipt['seconds']:.1f} s")
    return artifact
