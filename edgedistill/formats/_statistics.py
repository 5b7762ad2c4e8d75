"""Statistics of raw samples, given only where there are enough samples to carry them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles

from edgedistill.spec import Measurement, Report, Subject

RUNS_NEEDED = {50: 11, 90: 64, 95: 130, 99: 662}


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """A percentile by linear interpolation between order statistics; None where the samples are too few for it."""
    if len(samples) < RUNS_NEEDED[percent]:
        return None
    if percent == 50:
        return float(median(samples))
    return float(quantiles(samples, n=100, method="inclusive")[percent - 1])


def subject(report: Report, name: str) -> Subject | None:
    """The subject of that name."""
    return next((one for one in report.subjects if one.name == name), None)


def find(report: Report, name: str, metric: str) -> Measurement | None:
    """The first measurement of a metric of a subject that has samples; the table of measurements lists any others."""
    return next((one for one in report.measurements if (one.subject, one.metric) == (name, metric) and one.samples), None)


def median_latency_ms(report: Report, name: str) -> float | None:
    """The median latency of a subject; None unless it was measured, often enough, on the device itself: emulated time is no latency."""
    measurement = find(report, name, "latency_ms")
    if measurement is None or measurement.provenance != "measured":
        return None
    return percentile(measurement.samples, 50)


def ratio_to_baseline(report: Report, name: str) -> float | None:
    """A subject's median latency ÷ the baseline's: as the bench paired its processes, where it did."""
    paired = next((one["latency_ratio"] for one in report.devices if one["subject"] == name and one.get("latency_ratio")), None)
    if paired is not None:
        return float(paired)
    own, baseline = median_latency_ms(report, name), median_latency_ms(report, report.baseline)
    return own / baseline if own is not None and baseline else None
