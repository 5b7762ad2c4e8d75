"""What a loss may want of a model besides its answer: hidden states, and the queries, keys and values of its attention."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgedistill import surgery
from edgedistill.errors import ConfigError, Fault, nearest

PARTS = {"queries": "query", "keys": "key", "values": "value"}  # what a loss calls it → what a family's table calls its linear map


class Probe:
    """Hooks on a model that keep what `needs` names of the forward between `start` and `read`, and nothing of others (an evaluation's)."""

    def __init__(self, model: Any, needs: Collection[str]) -> None:
        self.needs = frozenset(needs)
        self.listening = False
        self.seen: dict[str, list[Any]] = {kind: [] for kind in self.needs}
        if "hidden" in self.needs:
            model.config.output_hidden_states = True
            model.base_model.register_forward_hook(self._keep_hidden)
        for kind in self.needs & PARTS.keys():
            for module in _projections(model, kind):
                module.register_forward_hook(lambda _module, _inputs, output, kind=kind: self._keep(kind, [output]))

    def start(self) -> None:
        """Listen to the next forward."""
        self.listening = True

    def read(self) -> dict[str, tuple[Any, ...]]:
        """What the forward gave, by kind; in float32, because losses are taken in it."""
        found = {kind: tuple(tensor.float() for tensor in kept) for kind, kept in self.seen.items()}
        self.listening, self.seen = False, {kind: [] for kind in self.needs}
        return found

    def _keep_hidden(self, _module: Any, _inputs: Any, output: Any) -> None:
        self._keep("hidden", output.hidden_states)

    def _keep(self, kind: str, tensors: Any) -> None:
        if self.listening:
            self.seen[kind] += tensors


def _projections(model: Any, kind: str) -> list[Any]:
    """The linear maps of each layer. Raises ConfigError for a family whose parts are not known."""
    name = model.config.model_type
    if name not in surgery.FAMILIES:
        what = f"they need the {kind} of a model of the family '{name}', where none are known"
        raise ConfigError([Fault("rounds.losses", what, nearest(name, surgery.FAMILIES))])
    part = getattr(surgery.FAMILIES[name], PARTS[kind])
    return [layer.get_submodule(part) for layer in surgery.layers(model)]


def heads(config: Any) -> int:
    """The attention heads of a layer; 0 for a family without any."""
    return surgery.heads(config)[0] if config.model_type in surgery.FAMILIES else 0


def width(config: Any) -> int:
    """The width of the residual stream; of the last stage where a model has several."""
    sizes = getattr(config, "hidden_sizes", None) or [0]
    return int(getattr(config, "hidden_size", None) or getattr(config, "dim", None) or sizes[-1])


def depth(config: Any) -> int:
    """The number of layers."""
    return int(getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", None) or len(getattr(config, "depths", [])))
