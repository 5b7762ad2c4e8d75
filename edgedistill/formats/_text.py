"""Numbers as people read them: rounded to what they carry, with their unit, and never 0 for what was not measured."""

from __future__ import annotations

from math import isfinite

from edgedistill.formats._statistics import RUNS_NEEDED, percentile
from edgedistill.spec import Measurement
from edgedistill.wording import NOT_AVAILABLE, significant

NOT_MEASURED = "not measured"
NOT_MADE = "not made"
UNDEFINED = "undefined"
UNITS = {"ms": "ms", "s": "s", "us": "µs", "mib": "MiB", "mb": "MB", "mj": "mJ", "c": "°C"}


def percent(share: float) -> str:
    """A share of 1 as a percentage: 0.984 → '98.4 %'."""
    if not isfinite(share):
        return NOT_AVAILABLE
    shown = f"{100 * share:.1f}"
    return f"{significant(100 * share, 2)} %" if share and float(shown) == 0 else f"{shown} %"


def interval(bounds: tuple[float, float]) -> str:
    """Two shares of 1 as a range: '97.1 – 99.6 %'."""
    low, high = bounds
    return f"{100 * low:.1f} – {100 * high:.1f} %" if isfinite(low) and isfinite(high) else NOT_AVAILABLE


def score(value: float, metric: str) -> str:
    """A score as its metric is read: accuracies and F1 as percentages, correlations and perplexities as numbers."""
    return percent(value) if is_share(metric) else significant(value, 4)


def score_interval(bounds: tuple[float, float], metric: str) -> str:
    """A score's interval, read as the score is."""
    return interval(bounds) if is_share(metric) else f"{significant(bounds[0], 4)} – {significant(bounds[1], 4)}"


def is_share(metric: str) -> bool:
    """Whether a metric counts what is right among all."""
    return metric.endswith(("accuracy", "F1"))


def count(number: float) -> str:
    """A count of many in words: 3.21e9 → '3.21 billion', 12_345_678 → '12.3 million', 37_450 → '37,450'."""
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if number >= size:
            return f"{significant(number / size)} {unit}"
    return f"{number:,.0f}"


def times(ratio: float | None) -> str:
    """A ratio: 0.0912 → '0.091 ×'."""
    return NOT_AVAILABLE if ratio is None else f"{significant(ratio, 2)} ×"


def plain_number(value: float) -> str:
    """A number of unknown kind, to four digits and without idle zeros: 30.0 → '30', 0.000012 → '0.000012'."""
    shown = significant(value, 4)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def quantity(value: float, metric: str) -> str:
    """A value with the unit that its metric's name carries: (3.124, 'latency_ms') → '3.12 ms'."""
    unit = UNITS.get(metric.rpartition("_")[2], "")
    return f"{significant(value)} {unit}".rstrip()


def percentile_cell(measurement: Measurement | None, at: int) -> str:
    """A percentile with its unit, or why there is none."""
    if measurement is None or not measurement.samples:
        return NOT_MEASURED
    value = percentile(measurement.samples, at)
    return f"n/a (needs {RUNS_NEEDED[at]} runs)" if value is None else quantity(value, measurement.metric) + provenance(measurement)


def range_cell(measurement: Measurement) -> str:
    """The smallest and the largest sample."""
    if not measurement.samples:
        return NOT_MEASURED
    low, high = quantity(min(measurement.samples), measurement.metric), quantity(max(measurement.samples), measurement.metric)
    shown = high if low == high else f"{significant(min(measurement.samples))} – {high}"
    return shown + provenance(measurement)


def typical_cell(measurement: Measurement | None) -> str:
    """The median, or all that a few runs can say: their range."""
    if measurement is None:
        return NOT_MEASURED
    return percentile_cell(measurement, 50) if len(measurement.samples) >= RUNS_NEEDED[50] else range_cell(measurement)


def provenance(measurement: Measurement) -> str:
    """A mark behind every number that was not measured on the device itself."""
    return "" if measurement.provenance == "measured" else f" ({measurement.provenance})"
