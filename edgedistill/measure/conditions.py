"""What an agent read around its samples, as what it means: shares, differences, joules a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgedistill.devices import Device
from edgedistill.errors import DeviceError
from edgedistill.plugins import PACKAGE

EMPTY = PACKAGE / "measure" / "empty.onnx"  # y = x, one number: what a session needs before it has a model
DEADLINE_S = 120.0
COULOMBS_PER_UAH = 3.6e-3


def during(result: Mapping[str, Any]) -> dict[str, Any]:
    """The median of one process's samples in ms and what they were taken under; a reading that the device does not give is absent.

    cpu_ms, the CPU time of a run on the mean, whatever else ran; cpu_share, that time ÷ the runs' own: below 1, others had the CPU, or the
    process slept. governor, load_1min and celsius after the samples; mhz, the mean of before and after; throttles and preempted, how often in
    between; steal and iowait, shares of all CPUs' time in between; joules, of the whole device, for each run; grown_mib, by how much the
    process grew.
    """
    before, after, runs = result.get("before", {}), result.get("after", {}), len(result["samples_ms"])
    both = before.keys() & after.keys()
    found: dict[str, Any] = {"latency_ms": float(np.median(result["samples_ms"]))} if runs else {}
    found |= {name: after[name] for name in ("governor", "load_1min", "celsius") if name in after}
    if "mhz" in both:
        found["mhz"] = (before["mhz"] + after["mhz"]) / 2
    found |= {name: after[name] - before[name] for name in ("throttles", "preempted") if name in both}
    if runs and "cpu_s" in both:
        cpu_ms = (after["cpu_s"] - before["cpu_s"]) * 1e3
        found |= {"cpu_ms": cpu_ms / runs, "cpu_share": cpu_ms / sum(result["samples_ms"])}
    ticks = after.get("ticks", 0) - before.get("ticks", 0)
    if ticks > 0:
        found |= {name: (after[f"ticks_{name}"] - before[f"ticks_{name}"]) / ticks for name in ("steal", "iowait")}
    spent = joules(before, after)
    if runs and spent is not None:
        found["joules"] = spent / runs
    if result.get("resident_mib"):
        found["grown_mib"] = result["resident_mib"][-1] - result["resident_mib"][0]
    return found


def joules(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """Energy between two readings, None without a counter or where it did not move.

    RAPL counts microjoules of the whole package and starts again at its range. A battery counts microampere hours; times its voltage.
    """
    both = before.keys() & after.keys()
    if "energy_uj" in both:
        spent_uj = after["energy_uj"] - before["energy_uj"]
        spent_uj += 0 if spent_uj >= 0 else after["energy_wrap_uj"]
        return float(spent_uj) * 1e-6
    if {"battery_uah", "battery_uv"} <= both:
        drawn_c = (before["battery_uah"] - after["battery_uah"]) * COULOMBS_PER_UAH
        return float(drawn_c * (before["battery_uv"] + after["battery_uv"]) / 2 * 1e-6) if drawn_c > 0 else None  # charging, or below its step
    return None


def own_mib(device: Device, job: Mapping[str, Any]) -> float | None:
    """What a session needs without a model, in MiB: the peak of an empty graph in a process of the same kind. None where it cannot be had.

    `peak_mib` is the kernel's high-water mark since the session began to load, less what was resident before; this much of it is ONNX Runtime's
    own (its registry of kernels, its threads), and is subtracted.
    """
    feeds = [{"x": {"dtype": "float32", "values": [0.0]}}]
    kept = {name: job[name] for name in ("provider", "options", "threads") if name in job}
    empty = {"model": str(EMPTY), "feeds": feeds, "min_runs": 0, "min_s": 0.0, **kept}
    try:
        found: float | None = device.run(empty, DEADLINE_S).result.get("peak_mib")
    except DeviceError:  # an accelerator may have nothing to do in an empty graph; a device that is gone says so again with the next job
        return None
    return found
