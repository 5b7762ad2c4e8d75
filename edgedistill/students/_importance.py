"""How much the answer changes without an attention head, or without a hidden unit of a feed-forward block.

    I = E_x E_v (vᵀ J a)²,   cov v = F

a is what the part gives on the example x and J the answer's derivative by it, so J a is the answer's change, to first order, when the part
is taken out: |activation × gradient| of Michel, Levy, Neubig 2019, arXiv:1905.10650, section 4.1, and Molchanov et al. 2017,
arXiv:1611.06440. They take the gradient of the loss on labels. A teacher that is compared with itself has none (the gradient of
KL(p, p) is 0), but its second order is F = diag(p) − p pᵀ, and (e_y − p) with y drawn from p has just this covariance: I is twice the
divergence that taking the part out causes (Fisher pruning, Theis et al. 2018, arXiv:1801.05787). Where the answer is no distribution over
classes, F = 1: the squared change. A part that gives 0 has importance 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgedistill import surgery
from edgedistill.students._activations import at_rest

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 2  # of v for every batch: each costs a backward pass


def importance(model: Any, inputs: Sequence[Mapping[str, Any]], seed: int) -> tuple[Tensor, Tensor]:
    """The importance of heads [layers, heads] and of hidden units [layers, units]."""
    import torch

    family = surgery.FAMILIES[model.config.model_type]
    layers = surgery.layers(model)
    count, _ = surgery.heads(model.config)
    places = [layer.get_submodule(path) for path in (family.out, family.down) for layer in layers]
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.zeros(place.in_features if index >= len(layers) else count) for index, place in enumerate(places)]
    for batch in inputs:
        for index, change in _changes(model, batch, places, generator):
            each = change if index >= len(layers) else change.reshape(len(change), count, -1).sum(-1)
            scores[index] += each.square().sum(0)
    return torch.stack(scores[: len(layers)]), torch.stack(scores[len(layers) :])


def _changes(model: Any, batch: Mapping[str, Any], places: Sequence[Any], generator: Any) -> Iterator[tuple[int, Tensor]]:
    """(place, vᵀ J a of every channel for every example [b, channels]), once for each draw of v."""
    import torch

    caught: dict[int, Tensor] = {}

    def catch(index: int) -> Any:
        def hook(module: Any, arguments: tuple[Any, ...]) -> None:
            if not arguments[0].requires_grad:
                arguments[0].requires_grad_(True)  # the weights may be frozen
            caught[index] = arguments[0]

        return hook

    handles = [place.register_forward_pre_hook(catch(index)) for index, place in enumerate(places)]
    with at_rest(model), torch.enable_grad():
        outputs = model(**batch)
    for handle in handles:
        handle.remove()
    answers = _answers(outputs)
    for _ in range(DRAWS):
        total = torch.stack([(answer * _direction(name, answer, batch, generator)).sum() for name, answer in answers.items()]).sum()
        gradients = torch.autograd.grad(total, list(caught.values()), retain_graph=True)
        for index, gradient in zip(caught, gradients, strict=True):
            yield index, (caught[index].detach() * gradient).sum(1)  # [b, s, c] → [b, c]


def _answers(outputs: Any) -> dict[str, Tensor]:
    """What the model is asked for: logits, the two of a span, else the hidden states."""
    logits = {name: value for name, value in outputs.items() if name.endswith("logits")}
    return logits or {"last_hidden_state": outputs["last_hidden_state"]}


def _direction(name: str, answer: Tensor, batch: Mapping[str, Any], generator: Any) -> Tensor:
    """A draw of v: y − p for classes, else normal; 0 at padding."""
    import torch

    values = answer.detach()
    drawn = torch.randn(values.shape, generator=generator)
    width = values.shape[-1]
    if "logits" in name and width > 1:
        p = values.flatten(0, -2).softmax(-1)
        drawn = (torch.nn.functional.one_hot(p.multinomial(1, generator=generator)[:, 0], width) - p).view(values.shape)
    mask = batch.get("attention_mask")
    if mask is not None and values.ndim == 3 and values.shape[:2] == mask.shape:
        drawn = drawn * mask[..., None]
    return drawn
