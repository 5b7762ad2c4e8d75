"""The sizes of a transformer that its cost depends on, read from its config without transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgedistill.spec import Student

NAMES: Mapping[str, tuple[str, ...]] = {  # our word → what the families call it in config.json
    "layers": ("num_hidden_layers", "n_layers", "n_layer"),
    "width": ("hidden_size", "dim", "n_embd", "d_model"),
    "intermediate": ("intermediate_size", "hidden_dim", "n_inner"),
    "vocabulary": ("vocab_size",),
    "positions": ("max_position_embeddings", "n_positions"),
    "image": ("image_size",),
    "patch": ("patch_size",),
}
MAPS = ("bottom", "uniform", "last", "auto")  # of layers by name: how many is `depth`, or half


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Layers of a width, the width between their two linear maps, and the rows of the tables in front. `patches` is 0 for a model of texts."""

    layers: int
    width: int
    intermediate: int
    vocabulary: int = 0
    positions: int = 0
    patches: int = 0

    @property
    def parameters(self) -> int:
        """Weights, to within a few per cent: biases, norms and the head are left out."""
        return self.layers * (4 * self.width**2 + 2 * self.width * self.intermediate) + (self.vocabulary + self.positions) * self.width

    def flops(self, tokens: int) -> float:
        """Multiplications and additions of one token in one layer, in a text of so many."""
        return 2.0 * (4 * self.width**2 + 2 * self.width * self.intermediate) + 4.0 * tokens * self.width


def body_of(config: Mapping[str, Any]) -> Body | None:
    """The sizes in a config.json; None for a model that is not one stack of transformer layers."""
    found = {ours: next((config[name] for name in names if isinstance(config.get(name), int)), 0) for ours, names in NAMES.items()}
    image, patch = found.pop("image"), found.pop("patch")
    if not found["layers"] or not found["width"]:
        return None
    found["intermediate"] = found["intermediate"] or 4 * found["width"]
    return Body(**found, patches=(image // patch) ** 2 + 1 if image and patch else 0)


def student_of(student: Student, teacher: Body) -> Body:
    """What a chain of methods leaves of the teacher's sizes."""
    layers = student.layers
    count = len(layers) if isinstance(layers, tuple) else layers if isinstance(layers, int) else student.depth or teacher.layers // 2
    chain = (student.method,) if isinstance(student.method, str) else student.method
    body = replace(teacher, layers=min(count, teacher.layers)) if "layers" in chain else teacher
    if student.width:
        body = replace(body, width=student.width, intermediate=student.intermediate or body.intermediate * student.width // teacher.width)
    if student.vocabulary:
        body = replace(body, vocabulary=min(student.vocabulary, teacher.vocabulary))
    return body
