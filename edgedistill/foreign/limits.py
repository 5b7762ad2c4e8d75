"""What a foreign model's file must reach to be shipped: a profile's `[parity.fidelity]`, and what holds where it says nothing.

agreement   0.99   of `argmax` and `equal` outputs, at least: nobody here knows what the model's errors cost
cosine      0.99   of `near` outputs: what is left when answers of 17 dB point another way; below it neighbours change in a search by embedding
sqnr_db     20     of `near` outputs: the difference is a tenth of the answers; int8 usually reaches 25 to 35
items       0.9    of outputs whose length depends on the data: what is near a threshold comes and goes, one item in ten
not_finite  0      NaN or infinity among an output's values, as a share: fp32 that overflows is broken
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edgedistill.spec import Target

LEAST_AGREEMENT = 0.99  # whatever the profile says


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits by measure; shares are of 1."""

    agreement: float = LEAST_AGREEMENT
    cosine: float = 0.99
    sqnr_db: float = 20.0
    items: float = 0.9
    not_finite: float = 0.0


def limits_of(target: Target) -> dict[str, float]:
    """A profile's limits, as a guarded process gets them."""
    own = target.parity.fidelity
    given = {} if own is None else {"cosine": own.cosine, "sqnr_db": own.sqnr_db, "items": own.items, "not_finite": own.not_finite}
    found = {name: float(fact.number) for name, fact in given.items() if fact is not None}
    return asdict(Limits(agreement=max(LEAST_AGREEMENT, float(target.parity.int8_agreement.number)), **found))
