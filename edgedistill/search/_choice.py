"""Which of the candidates is shipped, and why each other one is not: a function of them alone, so that a receipt can be asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgedistill.errors import StageError
from edgedistill.spec import Candidate
from edgedistill.wording import left_in_float

ALIKE = 1.10  # costs within a tenth are the same: a busy machine's clock is no better
NEAR = 2.0  # and so are divergences within 3 dB


def choose(candidates: Sequence[Candidate], hint: str = "") -> list[Candidate]:
    """The candidates with their places, from their figures and their order alone.

    Where latency is known, or instructions stand for it, the smallest product of bytes and latency wins; among equals, those whose answers are
    nearest to fp32's, and among these the one that the profile names first, so that the choice is the same tomorrow. Where latency is not known, the
    first that holds and is what its name says. Raises StageError when none does.
    """
    able = [one for one in candidates if one.status in ("chosen", "lost")]
    if not able:
        reasons = "; ".join(f"{one.scheme}: {one.reason}" for one in candidates)
        raise StageError(f"no allowed scheme can be shipped: {reasons}", hint=_way_out(candidates) or hint)
    equals = _cheapest(able)
    best = next((one for one in equals if _is_near(one, equals)), next(one for one in able if not _is_hollow(one, able)))
    if len(candidates) == 1:
        return [replace(best, status="chosen", reason="chosen: nothing else was to be tried")]
    return [_placed(one, best, equals) if one in able else one for one in candidates]


def _cheapest(able: Sequence[Candidate]) -> list[Candidate]:
    """Those that cost the least, and as good as the least; none where no cost is known."""
    costs = {one.scheme: one.cost for one in able if one.cost is not None}
    return [one for one in able if one.scheme in costs and costs[one.scheme] <= ALIKE * min(costs.values())]


def _is_hollow(one: Candidate, able: Sequence[Candidate]) -> bool:
    """Whether a scheme quantised little, and one that did what its name says is as small: then its place in the profile says nothing."""
    return bool(left(one)) and any(not left(other) and (other.bytes or 0) <= ALIKE * (one.bytes or 0) for other in able)


def left(one: Candidate) -> str:
    """What a scheme that quantised little leaves in float; empty where it did what its name says."""
    return left_in_float(one.scheme, one.facts)


def _is_near(one: Candidate, equals: Sequence[Candidate]) -> bool:
    return _divergence(one) <= NEAR * min(map(_divergence, equals))


def _divergence(one: Candidate) -> float:
    return float("inf") if one.divergence is None else one.divergence


def _way_out(candidates: Sequence[Candidate]) -> str:
    """What helps where the size alone is in the way."""
    if any(one.scheme == "fp32" and one.bytes is not None for one in candidates):  # which is right: only its size can be in the way
        return 'a smaller model, or a profile of your own that allows more: extends = "…" and budget.model_mb'
    return ""


def _placed(one: Candidate, best: Candidate, equals: Sequence[Candidate]) -> Candidate:
    if one is best:
        return replace(one, status="chosen", reason=_won(one, equals))
    return replace(one, status="lost", reason=f"lost: {_worse(one, best, equals)}")


def _won(one: Candidate, equals: Sequence[Candidate]) -> str:
    if one.cost is None:
        return "chosen: the first in the profile's order that holds; latency on this device is unmeasured"
    others = ", ".join(other.scheme for other in equals if other is not one)
    if not others:
        return f"chosen: the least bytes × {speed(one)}, {one.cost:.3f} of fp32's"
    off = "" if one.divergence is None else f", off by {one.divergence:.2g} of their variance"
    same = f"bytes × {speed(one)}, {one.cost:.3f} of fp32's, is the same within {ALIKE - 1:.0%} for {others}"
    return f"chosen: {same}; of all these it is the profile's first among the nearest to fp32's answers{off}"


def _decided(best: Candidate, other: Candidate, equals: Sequence[Candidate]) -> str:
    """What decides between two of the same cost. One that is as near as the best, and not the best, the profile names later."""
    if _is_near(other, equals):
        return f"the profile names {best.scheme} first"
    return f"the answers of {best.scheme} are nearer to fp32's, off by {_divergence(best):.2g} of their variance, not {_divergence(other):.2g}"


def speed(one: Candidate) -> str:
    """What the second factor of a cost is: a count is not a time."""
    return "instructions" if one.latency == "emulated" else "latency"


def _worse(one: Candidate, best: Candidate, equals: Sequence[Candidate]) -> str:
    """Why a candidate that holds is not the best."""
    size = f"{(one.bytes or 0) / (best.bytes or 1):.3g} × the bytes of {best.scheme}"
    if best.cost is None and _is_hollow(one, [best]):
        return f"it quantises little, and {best.scheme} is as small; {size}, latency unmeasured"
    if one.latency_ratio is None or best.latency_ratio is None:
        return f"the profile puts {best.scheme} first; {size}, latency unmeasured"
    found = f"{size} at {one.latency_ratio / best.latency_ratio:.3g} × its {speed(one)}"
    return f"{found}: the same within {ALIKE - 1:.0%}, and {_decided(best, one, equals)}" if one in equals else found
