"""The one training loop, on Accelerate. What differs between trainings comes in as a loss, a score and a schedule."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import get_cosine_schedule_with_warmup

from edgedistill.errors import StageError
from edgedistill.memory import give_back, keep_few_kernels
from edgedistill.progress import Progress
from edgedistill.spec import Schedule
from edgedistill.training.batches import MOST_TOKENS, bucketed, parts
from edgedistill.training.checkpoint import Checkpoints, Position

READ_EVERY = 10  # steps between readings of the loss: reading it waits for the device
ACCELERATED = 16  # times the tokens of a CPU that go through a model at once on an accelerator
EXPLODED = 1e3  # times the lowest loss that was read (at least 1): no schedule comes back from there


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One training: the examples' token `lengths` and how often an epoch sees each, `collate` from their numbers to a batch, weighted `loss`
    terms by name at a share of the training, `score` of a model (more is better where `higher`), `extras` that learn along. A batch of many
    tokens goes through the model in parts, and their gradients are added up, unless a loss needs it `whole`.
    """

    lengths: Sequence[int]
    frequency: Sequence[float]
    collate: Callable[[list[int]], Mapping[str, Tensor]]
    loss: Callable[[nn.Module, nn.Module, Mapping[str, Tensor], float], Mapping[str, Tensor]]
    score: Callable[[nn.Module], float]
    higher: bool
    schedule: Schedule
    seed: int
    extras: nn.Module
    whole: bool = False


@dataclass(slots=True)
class Trained:
    """What a training leaves besides weights: its curves as (step, value), and its best validation score."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    best: float = math.nan
    best_step: int = 0
    lowest: float = math.inf  # loss that was read
    waited: int = 0  # evaluations since the score last rose
    steps: int = 0
    rows: int = 0
    seconds: float = 0.0


def has_bf16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware (CUDA; x86 AVX512-BF16 or AMX)."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def accelerator() -> Accelerator:
    """Accelerate with what the hardware has."""
    keep_few_kernels()
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)  # it tells of every checkpoint of tied weights that they are tied
    return Accelerator(mixed_precision="bf16" if has_bf16() else "no", dataloader_config=DataLoaderConfiguration(even_batches=False))


def train(model: nn.Module, plan: Plan, work: Path, progress: Progress) -> Trained:
    """Train `model` in place and leave it with the weights of its best validation score.

    Progress is kept in `work`: called again after a kill with the same arguments on the same machine, it goes on from the last checkpoint
    and ends with the weights that an uninterrupted run ends with. Raises StageError when the loss is no longer finite.
    """
    machine = accelerator()
    set_seed(plan.seed)
    batches = bucketed(plan.lengths, plan.schedule.batch_size, plan.schedule.epochs, plan.seed, plan.frequency)
    whole = nn.ModuleDict({"model": model, "extras": plan.extras})
    optimizer, scheduler = _optimizer(whole, plan.schedule, len(batches))
    trained = Trained()
    apart = torch.Generator().manual_seed(
        plan.seed
    )  # a loader draws a seed when it starts: from here, so that a resumed run's dropout is not shifted
    most = MOST_TOKENS * (1 if machine.device.type == "cpu" else ACCELERATED)

    def collate(batch: list[int]) -> list[Mapping[str, Tensor]]:
        return [plan.collate(part) for part in ([batch] if plan.whole else parts(batch, plan.lengths, most))]

    loader: Any = DataLoader(range(len(plan.lengths)), batch_sampler=batches, collate_fn=collate, generator=apart)  # type: ignore[arg-type]
    prepared = machine.prepare(model)  # by itself: mixed precision lives in the forward of what is prepared, not in that of its parts
    if next(plan.extras.parameters(), None) is not None:
        machine.prepare(plan.extras)
    optimizer, scheduler, loader = machine.prepare(optimizer, scheduler, loader)
    checkpoints = Checkpoints(machine, work, Position(trained))
    checkpoints.restore()
    watch = _Watch(plan, progress, trained, len(batches), checkpoints)
    for batch in () if watch.stale() else _remaining(machine, loader, trained.steps):
        terms, norm = _step(machine, whole, optimizer, scheduler, plan, batch, trained.steps / len(batches))
        watch.step(terms, norm, sum(len(next(iter(part.values()))) for part in batch))
        if watch.evaluation_is_due():
            _evaluate(machine.unwrap_model(prepared), plan, trained, work / "best.safetensors")
            progress.measure(trained.steps, {"validation": trained.scores[-1][1]})
            checkpoints.save()
            if watch.stale():
                progress.note(f"stopped at step {trained.steps}: no better validation score in {plan.schedule.patience} evaluations")
                break
        elif checkpoints.are_due():
            checkpoints.save()
    load_model(model, work / "best.safetensors")
    machine.free_memory()
    give_back()
    return trained


def _optimizer(model: nn.Module, schedule: Schedule, steps: int) -> tuple[Any, Any]:
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]  # biases and norms are not decayed
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)
    return optimizer, get_cosine_schedule_with_warmup(optimizer, round(schedule.warmup * steps), steps)


def _remaining(machine: Accelerator, loader: Any, done: int) -> Iterator[Sequence[Mapping[str, Tensor]]]:
    yield from machine.skip_first_batches(loader, done) if done else loader


def _step(
    machine: Accelerator, whole: Any, optimizer: Any, scheduler: Any, plan: Plan, batch: Sequence[Mapping[str, Tensor]], share: float
) -> tuple[Mapping[str, Tensor], Tensor]:
    """The loss terms, and the norm that their gradient had before it was clipped. A part counts by its share of the batch's answers."""
    whole.train()
    answers = [len(part["labels"]) for part in batch]
    seen: list[Mapping[str, Tensor]] = []
    for part, count in zip(batch, answers, strict=True):
        terms = plan.loss(whole["model"], whole["extras"], part, share)
        if len(batch) > 1:
            terms = {name: term * (count / sum(answers)) for name, term in terms.items()}
        machine.backward(torch.stack(list(terms.values())).sum())
        seen.append({name: term.detach() for name, term in terms.items()})
    norm: Tensor = machine.clip_grad_norm_(whole.parameters(), plan.schedule.max_grad_norm)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    return {name: torch.stack([terms[name] for terms in seen]).sum() for name in seen[0]}, norm


def _evaluate(model: nn.Module, plan: Plan, trained: Trained, best: Path) -> None:
    model.eval()
    score = plan.score(model)
    trained.scores.append((trained.steps, score))
    sign = 1 if plan.higher else -1
    trained.waited = 0 if not sign * score <= sign * trained.best else trained.waited + 1
    if not sign * score < sign * trained.best:  # of equal scores the later one: the schedule has annealed it further
        trained.best, trained.best_step = score, trained.steps
        beside = best.with_suffix(".part")
        save_model(model, str(beside))
        beside.replace(best)


class _Watch:
    """Counts steps, reads the loss, tells the progress, and knows when to evaluate and when to stop."""

    def __init__(self, plan: Plan, progress: Progress, trained: Trained, total: int, checkpoints: Checkpoints) -> None:
        self.plan, self.progress, self.trained, self.total, self.checkpoints = plan, progress, trained, total, checkpoints
        self.marks = {round(total * (index + 1) / plan.schedule.evaluations) for index in range(plan.schedule.evaluations)}
        self.started, self.rows_before = time.monotonic(), trained.rows
        self.seconds_before = trained.seconds

    def step(self, terms: Mapping[str, Tensor], norm: Tensor, rows: int) -> None:
        trained = self.trained
        trained.steps += 1
        trained.rows += rows
        last = trained.steps == self.total
        if trained.steps % READ_EVERY == 0 or last or self.evaluation_is_due() or self.checkpoints.are_due():  # no checkpoint of a broken model
            self._read(terms, float(norm))

    def _read(self, terms: Mapping[str, Tensor], norm: float) -> None:
        trained = self.trained
        give_back()
        values = {name: float(term) for name, term in terms.items()}
        for name, value in values.items():
            if not math.isfinite(value) or value > max(EXPLODED * trained.lowest, EXPLODED):
                raise self._broken(f"the loss term '{name}' is {value:g}", f"lower {self._rate()}, or that term's weight")
        if not math.isfinite(norm):  # the terms are from before the step that this gradient has spoiled
            raise self._broken(f"the gradient of {' + '.join(values)} is {norm:g}", f"lower {self._rate()}")
        total = sum(values.values())
        trained.lowest = min(trained.lowest, max(total, 0.0))
        elapsed = time.monotonic() - self.started
        trained.seconds = round(self.seconds_before + elapsed, 1)
        trained.losses.append((trained.steps, round(total, 5)))
        speed = (trained.rows - self.rows_before) / elapsed
        self.progress.measure(trained.steps, {f"loss/{name}": value for name, value in values.items()} | {"loss": total, "rows per second": speed})
        seen = f" · val {trained.scores[-1][1]:.4f}" if trained.scores else ""
        self.progress.advance(trained.steps, self.total, "steps", f"loss {total:.4f}{seen} · {speed:.0f} rows/s")

    def _broken(self, what: str, hint: str) -> StageError:
        good = self.checkpoints.newest()
        where = f"the last good checkpoint is {good}" if good else "there is no good checkpoint yet"
        return StageError(f"{what} at step {self.trained.steps} of {self.total}; {where}", hint=hint)

    def _rate(self) -> str:
        """What the recipe calls the learning rate of this training."""
        return "teach.learning_rate" if self.progress.stage == "teach" else "the round's schedule.learning_rate"

    def evaluation_is_due(self) -> bool:
        return self.trained.steps in self.marks or self.trained.steps == self.total

    def stale(self) -> bool:
        return self.trained.waited >= self.plan.schedule.patience and self.trained.steps < self.total
