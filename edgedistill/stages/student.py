"""student: make the student that the first round starts from, and say what its smaller vocabulary does to the texts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill import plugins, students
from edgedistill.errors import ConfigError, Fault, StageError
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Round, Student
from edgedistill.stages import needs_files
from edgedistill.stages._splits import class_names, read_split, texts_of
from edgedistill.training import models

VERSION = 3  # 2: a vocabulary is filled up to its size; 3: every task, chains of methods, layer maps tried out
TOOLS = ("torch", "transformers", "tokenizers")
CALIBRATION_BATCH = 16
STRANGE = 0.2  # share of unknown tokens that no tokenizer has on texts of its own language


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The teacher is the input `teach`; a checkpoint is in the place `student`. `trial` is the round that layer maps are tried with."""

    task: str
    student: Student
    trial: Round | None
    max_length: int
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """What the student's methods ask of the teacher's config, and of its own checkpoint."""
    place = places["teacher"]
    unreadable = place.startswith("hub:") or models.folder_faults("", Path(place))
    auto_class = plugins.load("tasks", params.task).AUTO_CLASS
    faults: list[Fault] = [] if unreadable else students.faults(params.student, models.full_config(Path(place)))
    if not unreadable and not faults and "config" in students.chain(params.student):
        faults += _config_faults(params, Path(place), auto_class)
    if auto_class == "AutoModelForMaskedLM" and params.student.vocabulary:
        faults.append(Fault("student.vocabulary", "the answers of masked language modelling are the teacher's own pieces", "leave it out"))
    own = places.get("student", "hub:")
    if own.startswith("hub:"):
        return faults
    return faults + _checkpoint_faults(params, Path(own))


def _config_faults(params: Params, teacher: Path, auto_class: str) -> list[Fault]:
    """What transformers has against a student of the teacher's family with these sizes, and whether the texts fit it."""
    import transformers

    models.quieten()
    auto, method = getattr(transformers, auto_class), plugins.load("students", "config")
    config = transformers.AutoConfig.from_pretrained(teacher)
    found: list[Fault] = method.refusals(params.student, config, lambda changed: auto.from_config(changed, attn_implementation="eager"))
    shortened = {"max_position_embeddings", "n_positions"} & params.student.config.keys()
    return found + (models.length_faults(method.changed(params.student, config).to_dict(), params.max_length, "the student") if shortened else [])


def _checkpoint_faults(params: Params, folder: Path) -> list[Fault]:
    faults = models.folder_faults("student.model", folder)
    if faults:
        return faults
    task = plugins.load("tasks", params.task)
    long = models.length_faults(models.full_config(folder), params.max_length, "the student")
    told = models.text_faults(task, folder, params.max_length, "the student")
    return long + told + models.padding_faults("student.model", task.AUTO_CLASS, folder)


def _checkpoint(params: Params, place: str | None) -> Path | None:
    """The checkpoint's folder. Raises ConfigError where it is of no use: a hub's is here only now."""
    if place is None:
        return None
    folder = models.resolve(place)
    faults = _checkpoint_faults(params, folder)
    if faults:
        raise ConfigError(faults)
    return folder


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the student's model folder."""
    prepared, teacher = inputs["prepare"].path, inputs["teach"].path
    task = plugins.load("tasks", params.task)
    labels = class_names(prepared)
    encoder = models.load_encoder(task, teacher)
    tokenizer = encoder if hasattr(encoder, "get_vocab_size") else None
    texts = texts_of(one for name in ("train", "transfer") for one in read_split(prepared, name).examples) if tokenizer else []
    checkpoint = _checkpoint(params, inputs.places.get("student"))
    model = models.load_model(task.AUTO_CLASS, teacher)
    origin = students.Origin(
        teacher=model,
        tokenizer=tokenizer,
        texts=texts,
        labels=labels,
        auto_class=task.AUTO_CLASS,
        checkpoint=checkpoint,
        own=models.load_tokenizer(checkpoint) if checkpoint and tokenizer is not None else None,
        inputs=_calibration(task, model, encoder, prepared, params.max_length),
    )
    wanted, tried = _resolved(params, origin, task, inputs, out, progress)
    made = students.compose(wanted, origin, params.seed)
    if origin.checkpoint is not None:
        models.give_padding(made.model, origin.checkpoint, made.tokenizer)
    if task.CLASSES:
        models.name_labels(made.model, labels)
    models.save(made.model, made.tokenizer, out, files=models.encoder_files(task, teacher))
    facts = {"parameters": made.model.num_parameters(), **made.facts, **tried}
    told = f"{facts['parameters'] / 1e6:.2f} M parameters"
    if tokenizer is not None and made.tokenizer is not None:
        rates = {"teacher": unknown_rate(tokenizer, texts), "student": unknown_rate(made.tokenizer, texts)}
        facts |= {"pieces": made.tokenizer.get_vocab_size(), "unknown_rate": rates}
        if rates["teacher"] > STRANGE:
            progress.warn(f"{rates['teacher']:.0%} of the texts' tokens are unknown to the teacher's tokenizer: is it the one that belongs to it?")
        told += f", {facts['pieces']} pieces, unknown tokens {rates['student']:.4%} (teacher {rates['teacher']:.4%})"
    progress.note(told)
    return facts


def _resolved(params: Params, origin: Any, task: Any, inputs: Inputs, out: Path, progress: Progress) -> tuple[Student, dict[str, Any]]:
    """The student with its layers named; for `auto` they are those that did best in a trial of the first round."""
    if params.trial is None:
        return params.student, {}
    from edgedistill.stages import _trial

    trials = _trial.try_maps(params.student, origin, task, inputs, params.trial, params.max_length, params.seed, out, progress)
    best = _trial.best(trials, higher=task.HIGHER)
    progress.note(f"{_trial.sentence(trials)}; {best.name} is taken")
    facts = {"trial": {"steps": _trial.TRIAL_STEPS, "metric": task.METRIC, "chosen": best.name, "maps": [asdict(trial) for trial in trials]}}
    return replace(params.student, layers=best.layers, depth=None), facts


def _calibration(task: Any, model: Any, encoder: Any, prepared: Path, max_length: int) -> list[dict[str, Any]]:
    """The calibration examples as batches of the teacher's inputs, for methods that shrink what matters least."""
    import torch

    from edgedistill.runtime import by_length

    rows = [row for one in task.encode(encoder, read_split(prepared, "calibration").examples, max_length) for row in one]
    batches = ([rows[index] for index in batch] for batch in by_length(rows, CALIBRATION_BATCH))
    return [
        models.accepted(model, {name: torch.from_numpy(value) for name, value in task.feeds(batch, models.pad_id(model)).items()})
        for batch in batches
    ]


def ensures(out: Path) -> None:
    """A model folder whose tokenizer, if it has one, fits its embedding table."""
    needs_files(out, "config.json", "model.safetensors")
    if not (out / "tokenizer.json").is_file():
        return
    size = json.loads((out / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    pieces = models.load_tokenizer(out).get_vocab_size()
    if pieces > size:
        raise StageError(f"the student's tokenizer has {pieces} pieces, its embedding table {size} rows")


def unknown_rate(tokenizer: Any, texts: Sequence[str]) -> float:
    """The share of tokens of `texts` that are the unknown token, special tokens apart; 0 where the tokenizer has none."""
    spec = json.loads(tokenizer.to_str())["model"]
    unknown = tokenizer.token_to_id(spec.get("unk_token") or "[UNK]")
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        counts.update(encoding.ids)
    return counts[unknown] / max(1, counts.total()) if unknown is not None else 0.0
