"""Fake quantisation: a model that trains on what int8 will leave of its numbers, and is its plain self again afterwards.

    q(x) = s · (clamp(round(x / s) + z, lowest, highest) − z)          the gradient passes where nothing was clamped

Weights of linear maps and convolutions, and embedding tables: 256 steps from their least to their greatest number, as the scheme `int8-dynamic`
keeps them per tensor (schemes without a zero point have a coarser grid). What goes into a linear map or convolution: unsigned, with a range that is a
moving average over the batches of a training and stands still in an evaluation. In mixed precision the rounded numbers are multiplied in
bfloat16, as the others are.

Sources: Jacob et al. 2018, arXiv:1712.05877, section 3, equations 10 to 12, and section 3.1 on ranges; Zafrir et al. 2019, arXiv:1910.06188,
section 2 (Q8BERT: every fully connected and embedding layer of a BERT).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

AVERAGING = 0.01  # how much of a range a batch replaces: Jacob et al. want one that forgets slowly; torch's own observers have this one
STEPS = (0, 255)
MAPS = (nn.Linear, nn.Conv2d)
OBSERVER = "seen"


class Weight(nn.Module):
    """A weight as int8 keeps it: one scale and zero point for the whole tensor."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on its grid."""
        return rows_of(weight, weight)


class Seen(nn.Module):
    """What a layer sees, through 8 bits; the range is in the state, so that a training goes on where it stopped."""

    low: Tensor
    high: Tensor
    scale: Tensor
    zero: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.full((1,), math.inf))
        self.register_buffer("high", torch.full((1,), -math.inf))
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("zero", torch.zeros(1, dtype=torch.int32))

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs on the grid of the range seen so far; as they are before anything was seen."""
        if not self.training and math.isinf(self.low.item()):
            return inputs
        observes = torch.full((1,), int(self.training), device=inputs.device)
        rounds = torch.ones_like(observes)
        state = (self.low, self.high, self.scale, self.zero)
        found: Tensor = torch.fused_moving_avg_obs_fake_quant(inputs.float(), observes, rounds, *state, AVERAGING, *STEPS, -1, False, False)
        return found


def rows_of(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of a table on the grid of the whole table; an embedding's is large, and a batch reads little of it."""
    low, high = table.detach().amin().clamp(max=0.0), table.detach().amax().clamp(min=0.0)
    scale = _above_zero((high - low) / STEPS[1])
    return _on_grid(rows, scale, torch.round(-low / scale), STEPS)


def _above_zero(scale: Tensor) -> Tensor:
    return scale.float().clamp(min=torch.finfo(torch.float32).tiny)


def _on_grid(values: Tensor, scale: Tensor, zero: Tensor, limits: tuple[int, int]) -> Tensor:
    found: Tensor = torch.fake_quantize_per_tensor_affine(values.float(), scale.reshape(1), zero.reshape(1).to(torch.int32), *limits)
    return found


@contextmanager
def fake_quantized(model: nn.Module) -> Iterator[None]:
    """The model with fake quantisation in every linear map, convolution and embedding, for as long as the block lasts."""
    maps = [module for module in model.modules() if isinstance(module, MAPS)]
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    hooks = [table.register_forward_hook(_rows) for table in tables]
    for module in maps:
        module.add_module(OBSERVER, Seen())
        hooks.append(module.register_forward_pre_hook(_seen))
        parametrize.register_parametrization(module, "weight", Weight())
    try:
        yield
    finally:
        for module in maps:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            delattr(module, OBSERVER)
        for hook in hooks:
            hook.remove()


def _seen(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule(OBSERVER)(inputs[0]), *inputs[1:])


def _rows(table: Any, _inputs: Any, rows: Tensor) -> Tensor:
    return rows_of(table.weight, rows)
