"""Numbers of published implementations, recorded, so that nothing need be installed; where a package is, it is asked again.

Refresh: `pip install --no-deps textbrewer==0.2.1.post1 torchdistill==1.1.5`, then run this file; a difference fails with both numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from loss_cases import drawn, outputs
from torch import Tensor, nn

from edgedistill.losses import Batch, Outputs
from edgedistill.losses.attention import loss as attention
from edgedistill.losses.crd import loss as crd
from edgedistill.losses.hidden_cosine import loss as hidden_cosine
from edgedistill.losses.hidden_mse import loss as hidden_mse
from edgedistill.losses.kl import loss as kl
from edgedistill.losses.mse import loss as mse
from edgedistill.losses.rkd import loss as rkd

TEXTBREWER = {  # 0.2.1.post1
    "hid_mse_loss": 1.544256420699115,
    "cos_loss": 0.9443187848857421,
    "att_mse_loss": 1.7407847181502398,
    "kd_ce_loss T=1": 0.19138912164467703,  # less the teacher's entropy
    "kd_ce_loss T=3": 0.1928378938327977,  # the same, times T²
    "kd_mse_loss": 0.5464679510247855,
}
TORCHDISTILL = {  # 1.1.5
    "CRDLoss τ=0.07": 22.082348012951485,  # of one anchor; Z = 1, eps = 0, and the batch for a memory
    "CRDLoss τ=0.5": 5.564143510580934,
    "RKDLoss distance": 0.023484902615009903,
    "RKDLoss angle": 0.05310472281784431,
}
MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
TEXTS, POSITIONS, HEADS, ROWS = 3, 5, 2, 6
MASKED, BARE = Batch(torch.zeros(TEXTS), MASK), Batch(torch.zeros(0))
STATES = [drawn(seed, TEXTS, POSITIONS, 8) for seed in (1, 2, 3, 4)]
SAME = nn.ModuleList([nn.Identity()])


def states(**fields: Tensor) -> Outputs:
    return replace(Outputs(torch.zeros(1), heads=HEADS), **{name: (state,) for name, state in fields.items()})


def of_textbrewer() -> dict[str, float]:
    """Ours, on the inputs that TextBrewer was given."""
    student, teacher = outputs(drawn(1, ROWS, 4)), outputs(drawn(2, ROWS, 4))
    one, other = states(hidden=STATES[0]), states(hidden=STATES[1])
    one_attends, other_attends = states(queries=STATES[0], keys=STATES[2]), states(queries=STATES[1], keys=STATES[3])
    return {
        "hid_mse_loss": float(hidden_mse(one, other, MASKED, module=SAME)),
        "cos_loss": float(hidden_cosine(one, other, MASKED, module=SAME)),
        "att_mse_loss": float(attention(one_attends, other_attends, MASKED)),
        "kd_ce_loss T=1": float(kl(student, teacher, BARE, temperature=1.0)),
        "kd_ce_loss T=3": float(kl(student, teacher, BARE, temperature=3.0)),
        "kd_mse_loss": float(mse(student, teacher, BARE)),
    }


def of_torchdistill() -> dict[str, float]:
    """Ours, on the inputs that torchdistill was given."""
    one, other = states(hidden=drawn(1, ROWS, 1, 3)), states(hidden=drawn(2, ROWS, 1, 3))
    student, teacher = outputs(drawn(1, ROWS, 4)), outputs(drawn(2, ROWS, 5))
    both = nn.ModuleList([nn.Identity(), nn.Identity()])
    return {
        "CRDLoss τ=0.07": float(crd(one, other, BARE, module=both)),
        "CRDLoss τ=0.5": float(crd(one, other, BARE, module=both, temperature=0.5)),
        "RKDLoss distance": float(rkd(student, teacher, BARE, alpha=1.0, beta=0.0)),
        "RKDLoss angle": float(rkd(student, teacher, BARE, alpha=0.0, beta=1.0)),
    }


@pytest.mark.parametrize(("ours", "recorded"), [(of_textbrewer, TEXTBREWER), (of_torchdistill, TORCHDISTILL)])
def test_losses_equal_published_numbers_when_given_the_same_inputs(ours: Callable[[], dict[str, float]], recorded: Mapping[str, float]) -> None:
    assert ours() == pytest.approx(recorded, rel=1e-9)


def test_recorded_numbers_are_those_of_textbrewer_when_it_is_installed() -> None:
    theirs: Any = pytest.importorskip("textbrewer.losses", reason="textbrewer is not installed: its recorded numbers stand")
    apart = [state.view(TEXTS, POSITIONS, HEADS, 4).transpose(1, 2) for state in STATES]
    scores = [query @ key.transpose(-1, -2) / 2 for query, key in ((apart[0], apart[2]), (apart[1], apart[3]))]
    student, teacher = drawn(1, ROWS, 4), drawn(2, ROWS, 4)
    found = {f"{name}": float(getattr(theirs, name)(*STATES[:2], MASK)) for name in ("hid_mse_loss", "cos_loss")}
    found["att_mse_loss"] = float(theirs.att_mse_loss(*scores, MASK))
    for t in (1, 3):
        found[f"kd_ce_loss T={t}"] = float(theirs.kd_ce_loss(student, teacher, t) - theirs.kd_ce_loss(teacher, teacher, t)) * t**2
    found["kd_mse_loss"] = float(theirs.kd_mse_loss(student, teacher))
    assert found == pytest.approx(TEXTBREWER, rel=1e-9)


def test_recorded_numbers_are_those_of_torchdistill_when_it_is_installed() -> None:
    theirs: Any = pytest.importorskip("torchdistill.losses.mid_level", reason="torchdistill is not installed: its recorded numbers stand")
    one, other = (F.normalize(drawn(seed, ROWS, 3), dim=-1) for seed in (1, 2))
    negatives = torch.tensor([[i, *(j for j in range(ROWS) if j != i)] for i in range(ROWS)])
    found = {}
    for temperature in (0.07, 0.5):
        made = theirs.CRDLoss("", "", "", 3, ROWS, ROWS - 1, ROWS, temperature=temperature, eps=0.0).double()
        made.params = torch.tensor([ROWS - 1, temperature, 1.0, 1.0, 0.5], dtype=torch.float64)  # K, τ, Z, Z, momentum
        made.memory_v1.copy_(one)
        made.memory_v2.copy_(other)
        of_student, _ = made.contrast_memory(one, other, torch.arange(ROWS), negatives)
        found[f"CRDLoss τ={temperature}"] = float(made.compute_contrast_loss(of_student))
    relational = theirs.RKDLoss("", "", 1.0, 1.0, "mean")
    student, teacher = drawn(1, ROWS, 4), drawn(2, ROWS, 5)
    found["RKDLoss distance"] = float(relational.compute_rkd_distance_loss(teacher, student))
    found["RKDLoss angle"] = float(relational.compute_rkd_angle_loss(teacher, student))
    assert found == pytest.approx(TORCHDISTILL, rel=1e-9)
