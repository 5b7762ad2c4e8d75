"""What flows through a model on calibration inputs: means and covariances at its linear layers, and what a subset of channels says of the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

RIDGE = 1e-4  # of the mean variance: keeps a fit on few calibration tokens from reading noise


@dataclass(slots=True)
class Moments:
    """Sums over tokens at one place: how many, Σ x [d], Σ x xᵀ [d, d]."""

    count: int
    total: Tensor
    products: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean of every channel, [d]."""
        return self.total / max(1, self.count)

    @property
    def covariance(self) -> Tensor:
        """The covariance of the channels, [d, d]."""
        return self.products / max(1, self.count) - self.mean.outer(self.mean)


def watch(model: Any, places: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]], see: Callable[[str, Tensor, Tensor], None]) -> None:
    """Run the model on every batch; `see(name, what goes in, what comes out)`, rows are tokens that are no padding."""
    import torch

    mask: Tensor | None = None

    def rows(states: Tensor) -> Tensor:
        if mask is not None and states.ndim == 3 and states.shape[:2] == mask.shape:
            return states[mask]  # [n, d]
        return states.reshape(-1, states.shape[-1])

    def hook(name: str) -> Callable[[Any, tuple[Any, ...], Any], None]:
        return lambda module, arguments, answer: see(name, rows(arguments[0]), rows(answer))

    handles = [module.register_forward_hook(hook(name)) for name, module in places.items()]
    with at_rest(model), torch.no_grad():
        for batch in inputs:
            mask = batch["attention_mask"].bool() if "attention_mask" in batch else None
            model(**batch)
    for handle in handles:
        handle.remove()


@contextmanager
def at_rest(model: Any) -> Iterator[None]:
    """The model without dropout, and as it was afterwards."""
    before = model.training
    model.eval()
    yield
    model.train(before)


def moments(model: Any, places: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]) -> dict[str, Moments]:
    """Mean and covariance of what goes into each of the places."""
    found: dict[str, Moments] = {}

    def see(name: str, states: Tensor, _: Tensor) -> None:
        total, products = states.double().sum(0), (states.T @ states).double()  # a batch in single precision: half the time
        if name in found:
            found[name].count += len(states)
            found[name].total += total
            found[name].products += products
        else:
            found[name] = Moments(count=len(states), total=total, products=products)

    watch(model, places, inputs, see)
    return found


def lift(seen: Moments, kept: Sequence[int]) -> tuple[Tensor, Tensor]:
    """All channels from the kept ones, by least squares: x ≈ x_kept · map + offset; map [k, d], offset [d]; kept channels are themselves.

    This is the correction that Chee et al. 2022, arXiv:2108.00065, push into the next layer (an interpolative decomposition).
    """
    import torch

    size = len(seen.total)
    index = torch.tensor(list(kept))
    rest = torch.tensor([channel for channel in range(size) if channel not in set(kept)], dtype=torch.long)
    covariance, mean = seen.covariance, seen.mean
    inner = covariance[index][:, index]
    ridge = RIDGE * inner.diagonal().mean().clamp_min(1e-30) * torch.eye(len(index), dtype=inner.dtype)
    found = torch.zeros(len(index), size, dtype=inner.dtype)
    found[torch.arange(len(index)), index] = 1.0
    found[:, rest] = torch.linalg.solve(inner + ridge, covariance[index][:, rest])
    offset = torch.zeros(size, dtype=inner.dtype)
    offset[rest] = mean[rest] - mean[index] @ found[:, rest]
    return found, offset


def representatives(covariance: Tensor, count: int) -> tuple[list[int], float]:
    """`count` channels from which a linear map explains most of the variance of all, chosen one by one, and the share that they explain.

    Greedy column subset selection: the next channel is the one that takes most out of what is left, Σ_i R_ij² / R_jj (Farahat, Ghodsi,
    Kamel 2011, "An efficient greedy method for unsupervised feature selection").
    """
    import torch

    left = covariance.clone()
    least = 1e-9 * left.diagonal().max().clamp_min(1e-30)
    chosen: list[int] = []
    for _ in range(count):
        own = left.diagonal()
        gain = torch.where(own > least, left.square().sum(0) / own.clamp_min(least), torch.zeros(()).double())
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        if own[best] > least:
            column = left[:, best].clone()
            left -= column.outer(column) / column[best]
    return sorted(chosen), float(1 - left.diagonal().clamp_min(0).sum() / covariance.diagonal().sum().clamp_min(1e-30))


def reader(name: str, linear: Any, seen: Moments, kept: Sequence[int]) -> dict[str, Tensor]:
    """A linear layer that reads only the kept channels, corrected for the others: its new weight and bias under their names."""
    weight = linear.weight.detach()
    if len(kept) == weight.shape[1]:
        return {f"{name}.weight": weight} | ({} if linear.bias is None else {f"{name}.bias": linear.bias.detach()})
    mapped, offset = lift(seen, kept)
    new = {f"{name}.weight": (weight.double() @ mapped.T).to(weight.dtype)}
    if linear.bias is not None:
        new[f"{name}.bias"] = (linear.bias.detach().double() + weight.double() @ offset).to(weight.dtype)
    return new
