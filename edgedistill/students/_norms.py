"""LayerNorm on some of its channels: gain and shift that make up for a mean and a variance that are those of the kept channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgedistill.students._activations import watch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Sums:
    """Over tokens and per channel: how many, Σ n, Σ y, Σ n², Σ n·y, where n is normalised on the kept channels, y the teacher's answer."""

    count: int
    n: Tensor
    y: Tensor
    nn: Tensor
    ny: Tensor


def refitted(model: Any, width: int, channels: Sequence[int], inputs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """New weights and biases, under their names, of every LayerNorm over a stream of this width."""
    from torch import nn

    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.LayerNorm) and module.normalized_shape == (width,)}
    index = list(channels)
    sums: dict[str, Sums] = {}

    def see(name: str, before: Tensor, after: Tensor) -> None:
        kept, y = before[:, index].double(), after[:, index].double()  # [n, k]
        centred = kept - kept.mean(1, keepdim=True)
        n = centred / (centred.square().mean(1, keepdim=True) + norms[name].eps).sqrt()
        parts = (n.sum(0), y.sum(0), n.square().sum(0), (n * y).sum(0))
        if name in sums:
            old = sums[name]
            sums[name] = Sums(old.count + len(n), old.n + parts[0], old.y + parts[1], old.nn + parts[2], old.ny + parts[3])
        else:
            sums[name] = Sums(len(n), *parts)

    watch(model, norms, inputs, see)
    found: dict[str, Tensor] = {}
    for name, module in norms.items():
        gain, shift = module.weight.detach()[index], module.bias.detach()[index]
        if name in sums:
            gain, shift = _line(sums[name], gain.double(), shift.double())
        found |= {f"{name}.weight": gain.to(module.weight.dtype), f"{name}.bias": shift.to(module.weight.dtype)}
    return found


def _line(sums: Sums, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The regression y ≈ gain · n + shift of every channel; a channel that does not move keeps its own gain."""
    import torch

    mean_n, mean_y = sums.n / sums.count, sums.y / sums.count
    variance = sums.nn / sums.count - mean_n.square()
    moves = variance > 1e-9
    fitted = torch.where(moves, (sums.ny / sums.count - mean_n * mean_y) / variance.clamp_min(1e-9), gain)
    return fitted, mean_y - fitted * mean_n
