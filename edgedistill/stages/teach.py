"""teach: a teacher that knows the task — the model as it is, or fine-tuned first — with its outputs in the order of the data's classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgedistill import plugins
from edgedistill.errors import ConfigError, Fault, StageError
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Loss, Schedule
from edgedistill.stages import _orders as orders
from edgedistill.stages._splits import class_names, read_split
from edgedistill.training import models
from edgedistill.wording import array

VERSION = 4  # 4: a head of independent classes starts at their shares
TOOLS = ("torch", "transformers", "tokenizers", "accelerate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """`schedule` None takes the teacher as it is. The model is in the place `teacher`."""

    task: str
    schedule: Schedule | None
    max_length: int
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """The teacher is a model folder with weights that are safe to load, and long enough for the texts."""
    place = places["teacher"]
    if place.startswith("hub:"):
        return []
    return _faults(params, Path(place))


def _faults(params: Params, folder: Path) -> list[Fault]:
    faults = models.folder_faults("teacher.model", folder)
    if faults:
        return faults
    task = plugins.load("tasks", params.task)
    long = models.length_faults(models.full_config(folder), params.max_length)
    return long + models.text_faults(task, folder, params.max_length) + models.padding_faults("teacher.model", task.AUTO_CLASS, folder)


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the teacher's model folder; the facts hold its curves."""
    task = plugins.load("tasks", params.task)
    names = class_names(inputs["prepare"].path)
    folder = models.resolve(inputs.places["teacher"])
    faults = _faults(params, folder)  # a hub's folder is here only now
    if faults:
        raise ConfigError(faults)
    encoder = models.load_encoder(task, folder)
    if hasattr(encoder, "get_vocab_size"):
        pieces, rows = encoder.get_vocab_size(), models.full_config(folder)["vocab_size"]
        if pieces > rows:
            raise ConfigError([Fault("teacher.model", f"its tokenizer has {pieces} pieces, its embeddings {rows} rows")])
    curves: dict[str, Any] = {}
    if params.schedule is None:
        model = _adopt(params, task, folder, encoder, inputs, progress)
    else:
        model, curves = _fine_tune(params, params.schedule, task, folder, encoder, inputs, out, progress)
    if task.CLASSES:
        models.name_labels(model, names)
    models.save(model, encoder, out, files=models.encoder_files(task, folder))
    return curves | {"parameters": model.num_parameters()}


def ensures(out: Path) -> None:
    """A model folder with a tokenizer."""
    faults = models.folder_faults("", out)
    if faults:
        raise StageError(str(faults[0]))


def _adopt(params: Params, task: Any, folder: Path, encoder: Any, inputs: Inputs, progress: Progress) -> Any:
    """The teacher as it is, with the outputs of its head put into the order of the data's classes; where they have no names, every order is tried."""
    labels = class_names(inputs["prepare"].path)
    if not task.CLASSES:
        model = _pooled(models.load_model(task.AUTO_CLASS, folder), folder)
        wanted = task.head(labels).get("num_labels")
        if wanted is not None and model.config.num_labels != wanted:
            what = f"has {model.config.num_labels} outputs where the task wants {wanted}"
            raise ConfigError([Fault("teacher.model", what, "add [teach] to fine-tune a fresh head")])
        return model
    named = models.full_config(folder)["id2label"]
    theirs = [str(named[index]) for index in sorted(named, key=int)]  # JSON's order is the writer's
    count = len(theirs)
    if count != len(labels):
        what = f"has {count} classes ({', '.join(theirs)}), the data {len(labels)} ({', '.join(labels)})"
        raise ConfigError([Fault("teacher.model", what, "add [teach] to fine-tune a fresh head on the data's classes")])
    model = models.load_model(task.AUTO_CLASS, folder)
    order = _order(theirs, labels, inputs["prepare"].facts.get("labels", labels))
    if order is None:
        progress.note(orders.taken(theirs, labels))
        orders.check(_seen(params, task, model, encoder, inputs), inputs["prepare"].facts.get("labels", labels), progress.note)
    elif order != list(range(count)):
        _permute_head(model, order)
    return model


def _seen(params: Params, task: Any, model: Any, encoder: Any, inputs: Inputs) -> orders.Seen:
    """What the teacher says of validation rows."""
    from edgedistill.stages._training import predict

    prepared = inputs["prepare"].path
    split = orders.some(read_split(prepared, "validation"), params.seed)
    rows = task.encode(encoder, split.examples, params.max_length)
    outputs = predict(model, task, rows)
    return orders.Seen(task=task, rows=rows, split=split, outputs=outputs, names=class_names(prepared))


def _pooled(model: Any, folder: Path) -> Any:
    """An embedder's pooling, as sentence-transformers writes it down beside the model, put into the config."""
    file = folder / "1_Pooling" / "config.json"
    if file.is_file():
        modes = json.loads(file.read_text(encoding="utf-8"))
        model.config.pooling = "cls" if modes.get("pooling_mode_cls_token") else "mean"
        if not modes.get("pooling_mode_cls_token") and not modes.get("pooling_mode_mean_tokens"):
            raise ConfigError([Fault("teacher.model", f"{file} pools neither by the mean nor by the first token", "mean and cls are known")])
    return model


def _order(theirs: Sequence[str], ours: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """For each of our classes the teacher's output: names decide. None where the teacher has none (LABEL_0 …): those are taken in order.

    `labels` are what the data calls our classes.
    """
    if set(ours) == set(theirs):
        return [list(theirs).index(label) for label in ours]
    place = {name.casefold(): index for index, name in enumerate(theirs)}
    if {label.casefold() for label in ours} == place.keys() and len(place) == len(ours):  # labels that differ in capitals alone are two classes
        return [place[label.casefold()] for label in ours]
    if orders.generic(theirs):
        return None
    what = f"calls its classes {', '.join(theirs)}, the data {', '.join(ours)}"
    hint = "rename the labels in one of them, or add [teach] to fine-tune a fresh head"
    if list(labels) == [str(index) for index in range(len(labels))]:
        hint = f"say under [data] in the recipe what {', '.join(labels)} mean, in that order, like names = {array(theirs)}; or {hint}"
    raise ConfigError([Fault("teacher.model", what, hint)])


def _head(model: Any) -> Any:
    """The layer that the classes come out of; None where it has another name."""
    import torch

    return next(
        (module for name, module in reversed(list(model.named_modules())) if name.startswith("classifier") and isinstance(module, torch.nn.Linear)),
        None,
    )


def start_at_shares(model: Any, targets: Sequence[Sequence[int]], count: int) -> None:
    """Give a fresh head the log-odds of each class's share of the rows as its bias, in place; a head that has learned keeps its own.

    From zero, a model of rare classes first learns to say no to all of them, and bends its features to it. Source: Lin et al. 2017,
    arXiv:1708.02002, section 4.1, with each class's own share.
    """
    import torch

    head = _head(model)
    if head is None or head.bias is None or head.bias.any():
        return
    seen = Counter(index for target in targets for index in target)
    shares = torch.tensor([(seen[index] + 0.5) / (len(targets) + 1) for index in range(count)])  # half a row more on either side: never 0 or 1
    with torch.no_grad():
        head.bias.copy_(torch.logit(shares))


def _permute_head(model: Any, order: Sequence[int]) -> None:
    import torch

    head = _head(model)
    if head is None or head.out_features != len(order):
        raise ConfigError([Fault("teacher.model", "its classes are in another order than the data's, and its head is not one that can be reordered")])
    with torch.no_grad():
        head.weight.copy_(head.weight[list(order)].clone())
        head.bias.copy_(head.bias[list(order)].clone())


def _fine_tune(
    params: Params, schedule: Schedule, task: Any, folder: Path, encoder: Any, inputs: Inputs, out: Path, progress: Progress
) -> tuple[Any, dict[str, Any]]:
    import torch

    from edgedistill.stages._terms import Terms
    from edgedistill.stages._training import Material, curves, fit

    prepared = inputs["prepare"].path
    names = class_names(prepared)
    torch.manual_seed(params.seed)  # the fresh head is drawn from it
    model = _pooled(models.load_model(task.AUTO_CLASS, folder, fresh_head=True, ignore_mismatched_sizes=True, **task.head(names)), folder)
    train = read_split(prepared, "train")
    if task.TRAINING_LOSS == "bce":
        start_at_shares(model, train.targets, len(names))
    material = Material.of(task, encoder, train, read_split(prepared, "validation"), names, params.max_length)
    trained = fit(model, material, Terms.of({task.TRAINING_LOSS: Loss()}, model), schedule, params.seed, out, progress)
    progress.note(f"validation {task.METRIC} {trained.best:.4f}")
    return model, {"curves": curves(trained), "schedule": asdict(schedule)}
