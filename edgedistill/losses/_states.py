"""What the losses inside a transformer share: which layers are compared, which positions are tokens, how widths and heads are matched.

Padding is set to 0 before anything is computed, so that what a model leaves there reaches neither the loss nor a gradient. A batch's weights
count here where there is one for each text; where they belong to parts of a text (a tagger's words) all texts count alike.

Shapes: b texts, s positions, d width, h heads of width e.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from edgedistill.losses import Batch
from edgedistill.losses._rows import weights

Layers = tuple[tuple[int, int], ...]  # (student's, teacher's) numbers


def pairs(student: Sequence[Tensor], teacher: Sequence[Tensor], batch: Batch, layers: Layers | None, first: int) -> list[tuple[Tensor, Tensor]]:
    """The states [b, s, d] to compare, the last of both where `layers` is None; `first` is the number of the first state.

    Raises ValueError naming a layer that is not there.
    """
    numbers = layers or ((first + len(student) - 1, first + len(teacher) - 1),)
    return [(_layer(student, one, batch, first, "student"), _layer(teacher, other, batch, first, "teacher")) for one, other in numbers]


def tokens(batch: Batch, states: Tensor) -> Tensor:
    """1 at tokens and 0 at padding, [b, s], for states of b texts and s positions."""
    return states.new_ones(states.shape[:2]) if batch.mask is None else batch.mask.to(states)


def text_weights(batch: Batch, states: Tensor) -> Tensor:
    """The weight of every text [b]."""
    return states.new_ones(len(states)) if batch.weights is not None and len(batch.weights) != len(states) else weights(batch, states)


def token_weights(batch: Batch, states: Tensor) -> Tensor:
    """The weight of every position [b, s]: 0 at padding, elsewhere the text's."""
    return tokens(batch, states) * text_weights(batch, states)[:, None]


def split(states: Tensor, heads: int) -> Tensor:
    """The heads apart: [b, s, h · e] → [b, h, s, e]."""
    return states.reshape(*states.shape[:2], heads, -1).transpose(1, 2)


def projection(student: int, teacher: int) -> nn.Linear:
    """A learned map from the student's width to the teacher's; the identity to begin with where they are equal."""
    linear = nn.Linear(student, teacher, bias=False)
    if student == teacher:
        nn.init.eye_(linear.weight)
    return linear


def _layer(states: Sequence[Tensor], number: int, batch: Batch, first: int, whose: str) -> Tensor:
    if not first <= number < first + len(states):
        raise ValueError(f"the {whose} has no layer {number} here: its layers are {first} to {first + len(states) - 1}")
    found = states[number - first]
    return found if batch.mask is None else found.masked_fill(batch.mask[:, :, None] == 0, 0.0)
