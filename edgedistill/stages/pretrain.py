"""pretrain: masked language modelling on the training and transfer texts, so that the student knows its texts before it learns the task.

General distillation before task distillation is half of TinyBERT (Jiao et al. 2020, arXiv:1909.10351, section 3.2) and all of DistilBERT;
training on the task's own texts first helps by itself (Gururangan et al. 2020, arXiv:2004.10964). The pieces that are hidden depend on the
text alone (`tasks/masked_language_modeling`): they stay the same in every epoch, where RoBERTa draws them anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import plugins
from edgedistill.errors import ConfigError, Fault
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Pretrain
from edgedistill.stages import needs_files
from edgedistill.stages._splits import EMPTY, Split, read_sources, read_split, texts_of
from edgedistill.training import models

VERSION = 1  # 1: first
TOOLS = ("torch", "transformers", "tokenizers", "accelerate")
VALIDATION = 512  # texts: their answers are as wide as the vocabulary, and are held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The student is the input `start`; the teacher's own folder, with the head that it came with, is in the place `teacher`."""

    task: str
    pretrain: Pretrain
    max_length: int
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Texts to read, and where the teacher is to help a folder that was saved with its head for masks."""
    task = plugins.load("tasks", params.task)
    if "image" in task.COLUMNS:
        return [Fault("pretrain", f"the task {params.task} has no text with pieces to hide", "leave [pretrain] out")]
    if task.AUTO_CLASS == "AutoModelForMaskedLM":
        return [Fault("pretrain", f"the rounds of {params.task} train just that", "leave [pretrain] out, and give the rounds its epochs")]
    place = places.get("teacher", "hub:")
    if not params.pretrain.teacher or place.startswith("hub:") or models.folder_faults("", Path(place)):
        return []
    return [] if _has_head(Path(place)) else [Fault("pretrain.teacher", f"{place} has no head for masked pieces", "set it to false")]


def _has_head(folder: Path) -> bool:
    kinds = models.read_config(folder).get("architectures") or []
    return not kinds or any("MaskedLM" in kind or "PreTraining" in kind for kind in kinds)


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the student's model folder, its backbone trained; the facts hold the curve and the perplexity before and after."""
    from edgedistill.stages import _masked
    from edgedistill.stages._training import curves, fit

    task = plugins.load("tasks", params.task)
    start = inputs["start"].path
    model, encoder = models.load_model(task.AUTO_CLASS, start), models.load_encoder(task, start)
    dropout = {key: value for key, value in model.config.to_dict().items() if "dropout" in key}
    material = _material(params, inputs, encoder)
    teacher, table = _teacher(params, inputs, encoder)
    try:
        whole = _masked.with_head(model, params.seed)
    except (ValueError, AttributeError) as error:  # a family that transformers has no such head for, or one without output embeddings
        raise ConfigError([Fault("pretrain", f"no masked language model of this student: {error}", "leave [pretrain] out")]) from error
    copied = [] if teacher is None else _masked.copy_head(whole, teacher, table)
    before = material.validation.score(whole)
    terms: Any = _masked.MaskedTerms(teacher if params.pretrain.teacher else None, table)
    trained = fit(whole, material, terms, params.pretrain.schedule, params.seed, out, progress)
    progress.note(f"perplexity {trained.best:.2f} of hidden pieces, {before:.2f} before")
    for key, value in dropout.items():
        setattr(model.config, key, value)
    models.save(model, encoder, out, files=models.encoder_files(task, start))
    return {"curves": curves(trained), "perplexity": {"before": before, "after": trained.best}, "head": copied, "left_out": material.left_out}


def ensures(out: Path) -> None:
    """A model folder."""
    needs_files(out, "config.json", "model.safetensors")


def _material(params: Params, inputs: Inputs, encoder: Any) -> Any:
    from edgedistill.stages._training import Material

    masked = plugins.load("tasks", "masked-language-modeling")
    prepared = inputs["prepare"].path
    split = sum(read_sources(prepared).values(), EMPTY)
    validation = read_split(prepared, "validation").examples[:VALIDATION]
    try:
        masked.mask_id(encoder)
    except ValueError as error:
        raise ConfigError([Fault("pretrain", f"the student's pieces do not do: {error}", "leave [pretrain] out")]) from error
    return Material.of(masked, encoder, _texts(split.examples, split.frequency), _texts(validation), [], params.max_length)


def _texts(examples: Sequence[Mapping[str, Any]], frequency: Sequence[float] | None = None) -> Split:
    texts = texts_of(examples)
    return Split(examples=[{"text": text} for text in texts], targets=[0] * len(texts), frequency=list(frequency or [1.0] * len(texts)))


def _teacher(params: Params, inputs: Inputs, encoder: Any) -> tuple[Any, Any]:
    """The teacher with its head for masks and its number of each of the student's pieces; None where its folder has no such head.

    Raises ConfigError when the recipe asks for one that is not there.
    """
    from edgedistill.stages._teacher import translation
    from edgedistill.training.loop import accelerator

    masked = plugins.load("tasks", "masked-language-modeling")
    folder = models.resolve(inputs.places["teacher"])
    if not _has_head(folder) and not params.pretrain.teacher:
        return None, None
    device = accelerator().device
    try:
        model = models.load_model(masked.AUTO_CLASS, folder).to(device).eval().requires_grad_(False)
    except ConfigError as error:  # the weights of the head are missing after all
        if params.pretrain.teacher:
            raise ConfigError([Fault("pretrain.teacher", str(error), "set it to false")]) from error
        return None, None
    return model, translation(encoder, models.load_encoder(masked, folder)).to(device)
