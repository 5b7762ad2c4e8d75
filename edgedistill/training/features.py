"""What a loss may want of a model besides its answer: hidden states, and the queries, keys and values of its attention."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgedistill.errors import ConfigError

PROJECTIONS = {
    "queries": ("query", "q_lin", "q", "q_proj"),
    "keys": ("key", "k_lin", "k", "k_proj"),
    "values": ("value", "v_lin", "v", "v_proj"),
}  # kind → what model families call its linear map


class Probe:
    """Hooks on a model that keep, from one forward to the next, what `needs` names; nothing where it is empty."""

    def __init__(self, model: Any, needs: Collection[str]) -> None:
        self.needs = frozenset(needs)
        self.seen: dict[str, list[Any]] = {kind: [] for kind in self.needs}
        if "hidden" in self.needs:
            model.config.output_hidden_states = True
            model.base_model.register_forward_hook(self._keep_hidden)
        for kind in self.needs & PROJECTIONS.keys():
            found = [
                module for name, module in model.named_modules() if name.rpartition(".")[2] in PROJECTIONS[kind] and hasattr(module, "out_features")
            ]
            if not found:
                raise ConfigError(f"rounds: the losses need the {kind} of a model of the family '{model.config.model_type}', where none are known")
            for module in found:
                module.register_forward_hook(lambda _module, _inputs, output, kind=kind: self.seen[kind].append(output))

    def start(self) -> None:
        """Forget the last forward."""
        for kept in self.seen.values():
            kept.clear()

    def read(self) -> dict[str, tuple[Any, ...]]:
        """What the last forward gave, by kind; in float32, because losses are taken in it."""
        return {kind: tuple(tensor.float() for tensor in kept) for kind, kept in self.seen.items()}

    def _keep_hidden(self, _module: Any, _inputs: Any, output: Any) -> None:
        self.seen["hidden"] = list(output.hidden_states)


def heads(config: Any) -> int:
    """The attention heads of a layer."""
    special = (getattr(config, "edgedistill", None) or {}).get("heads")
    return int(special or getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", None) or 0)


def width(config: Any) -> int:
    """The width of the residual stream."""
    return int(getattr(config, "hidden_size", None) or getattr(config, "dim", None) or 0)


def depth(config: Any) -> int:
    """The number of layers."""
    return int(getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", None) or 0)
