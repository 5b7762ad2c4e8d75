"""Copies of a model with other shapes: its class made anew from a changed config, every weight taken from the old one, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgedistill import surgery
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.surgery import FAMILIES, Family


def family_faults(method: str, config: Mapping[str, Any]) -> list[Fault]:
    """Whether the method knows where this kind of model keeps its parts."""
    kind = str(config.get("model_type", ""))
    hint = f"{nearest(kind, FAMILIES)}; the methods 'config' and 'checkpoint' take any family"
    return [] if kind in FAMILIES else [Fault("student.method", f"'{method}' does not know the family '{kind}'", hint)]


def family_of(model: Any) -> Family:
    """The model's family, after a look at its weights: every numbered one is in one of its layers.

    Raises ConfigError where it is not: a slice by number would take the wrong weights.
    """
    family = FAMILIES[model.config.model_type]
    depth = getattr(model.config, family.depth)
    names = [name for name in model.state_dict() if not name.endswith(("word_embeddings.0.weight", "word_embeddings.1.weight"))]
    numbers = {int(match[2]) for name in names if (match := family.inside.fullmatch(name))}
    strange = [name for name in names if not family.inside.fullmatch(name) and any(part.isdigit() for part in name.split("."))]
    if strange or numbers != set(range(depth)):
        what = f"{strange[0]} is numbered, but in no layer" if strange else f"its weights have the layers {sorted(numbers)}, its config {depth}"
        raise ConfigError(
            f"student.method: this {model.config.model_type} is not built as its family is: {what}",
            hint='method = "config" or "checkpoint" copies no weights',
        )
    return family


def remade(model: Any, config: Any, seed: int, take: Callable[[str, Any], Any]) -> Any:
    """A model of the same class for `config`; `take(name, old weights)` gives the weight behind each of its names.

    Raises ConfigError when the weights do not fit.
    """
    import torch

    torch.manual_seed(seed)
    made = surgery.construct(type(model), config)
    old = model.state_dict()
    try:
        made.load_state_dict({name: take(name, old).clone() for name in made.state_dict()})
    except (KeyError, RuntimeError) as error:  # RuntimeError: torch's word for shapes that differ
        raise ConfigError(f"student.method: the weights of this {config.model_type} do not fit its new shape: {error}") from error
    return made
