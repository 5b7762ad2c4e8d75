"""What the tests of the losses share: a student, a teacher and a batch on which every loss can be computed, in float64."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgedistill import plugins
from edgedistill.losses import UNLABELLED, Batch, Outputs, Sizes

LOSSES = plugins.names("losses")
FEATURES = ("hidden", "queries", "keys", "values")
TEXTS, POSITIONS, CLASSES, HEADS = 5, 4, 4, 2
MASK = ((1, 1, 1, 1), (1, 1, 1, 0), (1, 1, 0, 0), (1, 1, 1, 1), (1, 1, 1, 0))
HARD = (0, 1, UNLABELLED, 3, 2)
NAN = float("nan")
REAL_LABELS = {  # of the losses that do not take class numbers; the third row has none
    "bce": ((0.0, 1.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), (NAN,) * 4, (0.0,) * 4, (1.0, 0.0, 1.0, 1.0)),
    "pair-cosine": ((0.5,), (NAN,), (NAN,), (1.0,), (NAN,)),
    "label-mse": ((0.5, -1.0, 2.0, 0.0), (1.5, 0.0, 0.0, 3.0), (NAN,) * 4, (0.0, 1.0, NAN, 1.0), (2.0, 2.0, -1.0, 0.0)),
}


def drawn(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers that any machine draws alike."""
    return torch.tensor(np.random.default_rng(seed).normal(0, 1, shape))


def outputs(logits: Any, learns: bool = False) -> Outputs:
    """What a model without inner states says."""
    return Outputs(torch.as_tensor(logits, dtype=torch.float64).clone().requires_grad_(learns))


def speaker(seed: int, width: int, layers: int, classes: int = CLASSES) -> Outputs:
    """A model of some width and depth that says random things."""
    return Outputs(
        2 * drawn(seed, TEXTS, classes),
        hidden=tuple(drawn(seed + 10 + layer, TEXTS, POSITIONS, width) for layer in range(layers + 1)),
        queries=tuple(drawn(seed + 20 + layer, TEXTS, POSITIONS, width) for layer in range(layers)),
        keys=tuple(drawn(seed + 30 + layer, TEXTS, POSITIONS, width) for layer in range(layers)),
        values=tuple(drawn(seed + 40 + layer, TEXTS, POSITIONS, width) for layer in range(layers)),
        heads=HEADS,
    )


def sizes(said: Outputs, name: str) -> Sizes:
    """The sizes that the loss `name` asks for: an embedding's width is that of the logits."""
    inner = getattr(plugins.load("losses", name), "NEEDS", None)
    return Sizes(width=(said.hidden[0] if inner else said.logits).shape[-1], layers=len(said.queries), heads=said.heads)


def batch(name: str = "kl", weights: Tensor | None = None) -> Batch:
    """The hard side, of the kind that the loss reads."""
    labels = torch.tensor(REAL_LABELS[name], dtype=torch.float64) if name in REAL_LABELS else torch.tensor(HARD)
    return Batch(labels, torch.tensor(MASK), weights)


def options(name: str) -> list[str]:
    """What a recipe may give to a loss."""
    parameters = inspect.signature(plugins.load("losses", name).loss).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "module"]


def learned(name: str, student: Outputs, teacher: Outputs, **given: Any) -> dict[str, Any]:
    """The keyword `module` for `loss`, always drawn alike; nothing where the loss learns nothing."""
    make = getattr(plugins.load("losses", name), "module", None)
    if make is None:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {"module": make(sizes(student, name), sizes(teacher, name), **given).double()}


def value(name: str, student: Outputs, teacher: Outputs, hard: Batch, **given: Any) -> Tensor:
    """The loss, its module freshly made."""
    layers = {"layers": given["layers"]} if "layers" in given else {}
    return plugins.load("losses", name).loss(student, teacher, hard, **given, **learned(name, student, teacher, **layers))


def tensors(said: Outputs) -> list[Tensor]:
    """Everything that a model said."""
    return [said.logits, *(state for field in FEATURES for state in getattr(said, field))]


def learning(said: Outputs) -> Outputs:
    """The same, as leaves that collect gradients."""
    leaf = {field: tuple(state.clone().requires_grad_() for state in getattr(said, field)) for field in FEATURES}
    return replace(said, logits=said.logits.clone().requires_grad_(), **leaf)
