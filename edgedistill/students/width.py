"""A narrower residual stream: `width` of its channels, the ones that speak best for all, with every reader corrected for the rest.

SliceGPT (Ashkboos et al. 2024, arXiv:2401.15024, section 3) rotates the stream to its principal components and deletes the small ones. It may,
because RMSNorm commutes with rotations once its gain is folded into the next layer. BERT's kind normalises the stream itself: the gain
diag(g) stands on the skip connection, has no next layer to go to, and does not commute with a rotation; at full width the student would
not be its teacher. Choosing channels does commute. So the projection is onto channels, and the rest of the PCA's work is left to least squares
(an interpolative decomposition, Chee et al. 2022, arXiv:2108.00065):

    x ≈ x_S · M + m      on `inputs`, for each reader of the stream on its own:  W' = W Mᵀ, b' = b + W m     (`_activations.lift`)
    writers              keep the rows of S
    LayerNorm            sees S only, so its mean and variance differ: g'_c, b'_c by regression of the teacher's LN(u)_c on the student's
                         normalised u_S, per channel

S is chosen greedily on the covariances of all readers together, each divided by its trace; `kept_variance` says what S explains of them and
`pca_variance` what any projection of this width could. Heads and hidden units shrink first, as in `prune`: `heads`, else width ÷ the
heads' size; `intermediate`, else in proportion, in steps of 64.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgedistill import surgery
from edgedistill.errors import Fault
from edgedistill.spec import Student
from edgedistill.students import Made, Origin
from edgedistill.students._activations import Moments, moments, reader, representatives
from edgedistill.students._copy import family_faults, family_of, remade
from edgedistill.students._norms import refitted
from edgedistill.students.prune import narrowed, set_heads, size_faults
from edgedistill.students.vocabulary import HEADS
from edgedistill.surgery import FAMILIES, Family

if TYPE_CHECKING:
    from torch import Tensor

READS = ("width", "heads", "intermediate")
INNER = {"pooler.dense": "classifier", "classifier.dense": "classifier.out_proj", "pre_classifier": "classifier"}  # a head's two linear layers
WITHIN = ("dense", "vocab_transform", "pre_classifier")  # outside of the layers: from the stream to something as wide
WRITERS = ("word_embeddings.1", "embeddings_project", "patch_embeddings.projection")  # outside of the layers: into the stream


def faults(student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """A known family, and sizes that are not above the teacher's."""
    unknown = family_faults("width", teacher)
    if unknown:
        return unknown
    own = teacher[FAMILIES[teacher["model_type"]].width]
    if student.width is None:
        return [Fault("student.width", "is missing: method 'width' needs the new one", f"width = {own // 2}")]
    wrong = [] if 1 <= student.width <= own else [Fault("student.width", f"{student.width} of a teacher that is {own} wide", f"1 … {own}")]
    return wrong + size_faults(student, teacher)


def build(student: Student, origin: Origin, seed: int) -> Made:
    """The teacher with a narrower stream, fewer heads, fewer hidden units. Raises ConfigError where there are no inputs to measure on."""
    config = origin.teacher.config
    family = FAMILIES[config.model_type]
    own, units = getattr(config, family.width), getattr(config, family.intermediate)
    count, size = surgery.heads(config)
    width = student.width or own
    heads = student.heads or min(count, max(1, width // size))
    intermediate = student.intermediate or min(units, max(64, round(units * width / own / 64) * 64))
    model, shares = narrowed(origin, heads, intermediate, seed)
    made, stream = _shrunk(replace(origin, teacher=model), width, seed)
    sizes = {"width": [own, width], "heads": [count, heads], "intermediate": [units, intermediate]}
    return Made(model=made, tokenizer=origin.tokenizer, facts={"shrunk": sizes | shares | stream})


def _shrunk(origin: Origin, width: int, seed: int) -> tuple[Any, dict[str, float]]:
    """The teacher with `width` channels, and how much of the stream's variance they explain."""
    import torch

    model = origin.teacher
    family = family_of(model)
    own = getattr(model.config, family.width)
    places = _readers(model, family, own)
    inner = _inner(places)
    seen = _moments(model, family, places, origin.inputs)
    scaled = [seen[name].covariance / seen[name].covariance.trace().clamp_min(1e-30) for name in seen if name not in inner.values()]
    together = torch.stack(scaled).sum(0)
    channels, explained = representatives(together, width)
    rows = {first: representatives(seen[second].covariance, width)[0] for first, second in inner.items()}
    columns = {second: rows[first] for first, second in inner.items()}
    new = refitted(model, own, channels, origin.inputs)
    for name, linear in places.items():
        found = reader(name, linear, seen[_site(name, family)], columns.get(name, channels))
        if name in rows or (not family.inside.fullmatch(name) and name.endswith(WITHIN) and linear.out_features == own):
            found = {key: weight[rows.get(name, channels)] for key, weight in found.items()}
        new |= found
    config = _config(model.config, family, own, width)
    made = remade(model, config, seed, lambda name, old: new[name] if name in new else _sliced(name, old[name], own, channels, family))
    values = torch.linalg.eigvalsh(together)
    return made, {"kept_variance": round(explained, 4), "pca_variance": round(float(values[-width:].sum() / values.sum()), 4)}


def _readers(model: Any, family: Family, own: int) -> dict[str, Any]:
    """Every linear layer that reads the stream, or what a head makes of it; those that read the embeddings back go with the embeddings."""
    from torch import nn

    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    found = {}
    for name, module in model.named_modules():
        match = family.inside.fullmatch(name)
        if match:
            reads = match[3][1:] in (family.query, family.key, family.value, family.up)
        else:
            reads = not name.endswith(WRITERS) and f"{name}.weight" not in tied and getattr(module, "in_features", None) == own
        if reads and isinstance(module, nn.Linear):
            found[name] = module
    return found


def _inner(places: Mapping[str, Any]) -> dict[str, str]:
    """The pairs of a head's first and second linear layer: what is between them is no stream and has channels of its own."""
    pairs = {}
    for first in places:
        for begin, end in INNER.items():
            seconds = [name for name in places if f".{name}".endswith(f".{end}")]
            if f".{first}".endswith(f".{begin}") and seconds:
                pairs[first] = seconds[0]
    return pairs


def _site(name: str, family: Family) -> str:
    """Keys and values read what queries read."""
    match = family.inside.fullmatch(name)
    return f"{match[1]}{match[2]}.{family.query}" if match and match[3][1:] in (family.key, family.value) else name


def _moments(model: Any, family: Family, places: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]) -> dict[str, Moments]:
    return moments(model, {name: module for name, module in places.items() if _site(name, family) == name}, inputs)


def _sliced(name: str, weight: Tensor, own: int, channels: Sequence[int], family: Family) -> Tensor:
    """The channels of a weight that writes the stream, of a table, or of a vector; other weights as they are."""
    index = list(channels)
    parent, _, leaf = name.rpartition(".")
    match = family.inside.fullmatch(parent)
    if (match and match[3][1:] in (family.out, family.down)) or (parent.endswith(WRITERS) and len(weight) == own):
        return weight[index]
    if match or parent.endswith("word_embeddings.0") or (leaf == "bias" and parent.endswith(HEADS)):
        return weight
    return weight[..., index] if weight.shape[-1] == own else weight


def _config(old: Any, family: Family, own: int, width: int) -> Any:
    config = copy.deepcopy(old)
    heads, size = surgery.heads(old)
    setattr(config, family.width, width)
    for name in ("embedding_size", "pooler_output_size"):
        if getattr(config, name, None) == own:
            setattr(config, name, width)
    set_heads(config, family, heads, size)
    return config
