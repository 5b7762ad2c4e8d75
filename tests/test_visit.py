"""A visit to a device whose results are made up: the deadlines that it gives, and what it makes of memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from device_cases import summed

from edgedistill.devices import Ended
from edgedistill.errors import DeviceError
from edgedistill.measure import conditions, modes, run, visit
from edgedistill.measure.subjects import Asked, Subject
from edgedistill.progress import Progress, silent

FACTS = {"device": "made-up", "os": "linux", "arch": "x86_64", "cpu": "none", "cores": 1, "kernel": "none", "provenance": "measured"}
ROW = {"x": {"dtype": "float32", "values": [1.0]}}
MODE = modes.Mode(min_runs=4, min_s=2.0, processes=2)


class MadeUp:
    """Answers at once that an answer takes `first_ms`; `own_mib` is an empty graph's peak, None where it refuses one."""

    address = "made-up"

    def __init__(self, first_ms: Mapping[str, float], own_mib: float | None) -> None:
        self.first_ms, self.own_mib = first_ms, own_mib
        self.seen: list[tuple[str, bool, float]] = []

    def facts(self) -> dict[str, Any]:
        return FACTS

    def conditions(self) -> dict[str, Any]:
        return {"load_1min": 0.0}

    def close(self) -> None:
        pass

    def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
        if job["model"] == str(conditions.EMPTY):
            if self.own_mib is None:
                raise DeviceError("nothing to do in an empty graph")
            return Ended(result={"status": "ok", "peak_mib": self.own_mib})
        timed = bool(job["min_runs"])
        self.seen.append((job["model"], timed, deadline_s))
        took = self.first_ms[job["model"]]
        result = {"status": "ok", "first_ms": took, "load_ms": 1.0, "peak_mib": 30.0, "onnxruntime": "1.0", "providers": ["CPUExecutionProvider"]}
        runs = {"samples_ms": [took] * 4, "warmups_ms": [took], "resident_mib": [9.0] * 5, "before": {}, "after": {}}
        probes = {"probe_before_ms": [1.0], "probe_after_ms": [1.0]}
        return Ended(result=result | (runs | probes if timed else {}))


def visited(device: MadeUp, rows: int = 3, **pace: Any) -> visit.Visit:
    subjects = [Subject(name=name, job={"model": name, "feeds": [ROW] * rows}, bytes=1) for name in device.first_ms]
    asked = Asked(subjects=subjects, baseline=subjects[0].name, note="made up", about={})
    return visit.visit(device, asked, visit.Pace(mode=MODE, **pace), lambda *_: None, pytest.fail)


def test_deadline_is_ten_times_the_work_when_the_first_answer_has_said_what_a_row_takes() -> None:
    device = MadeUp({"slow": 40_000.0, "fast": 1.0}, own_mib=9.0)
    visited(device, batch=5)
    timed = {name: {limit for seen, is_timed, limit in device.seen if seen == name and is_timed} for name in device.first_ms}
    assert timed == {"slow": {120 + 10 * 2.0 + 10 * 3 * 5 * 40.0}, "fast": {120 + 10 * 2.0 + 10 * 3 * 5 * 0.001}}


def test_deadline_is_by_the_rows_when_nothing_is_known_yet() -> None:
    device = MadeUp({"model": 1.0}, own_mib=9.0)
    visited(device, rows=50)
    assert device.seen[0] == ("model", False, 120 + 50 * 10.0)


@pytest.mark.parametrize(("own_mib", "peak"), [(9.0, 21.0), (31.0, 0.0), (None, 30.0)])
def test_peak_is_less_the_runtimes_own_when_that_can_be_had(own_mib: float | None, peak: float) -> None:
    """A peak is 30 MiB; an accelerator that takes no empty graph leaves it whole, and the visit goes on."""
    found = visited(MadeUp({"teacher": 2.0, "bundle": 1.0}, own_mib))
    assert found.entry["status"] == "ok"
    assert found.entry["own_mib"] == own_mib
    assert {one.samples for one in found.measurements if one.metric == "peak_mib"} == {(peak, peak)}
    assert found.entry["ratios"]["bundle"]["median_ratio"] == pytest.approx(0.5)


@pytest.mark.parametrize(("batch", "hint"), [(5, "may be beyond what the model takes"), (1, "")])
def test_a_crash_hints_at_the_batch_when_one_was_asked_for(batch: int, hint: str) -> None:
    class Narrow(MadeUp):
        """Takes a row as it is, and nothing wider."""

        def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
            return Ended(result={"status": "crashed", "detail": "out of range"}) if job["min_runs"] else super().run(job, deadline_s)

    entry = visited(Narrow({"model": 1.0}, own_mib=9.0), batch=batch).entry
    assert (entry["status"], entry["detail"]) == ("crashed", "the model: out of range")
    assert hint in entry["hint"]
    assert bool(entry["hint"]) == bool(hint)


def test_devices_that_were_done_are_kept_when_the_next_one_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Ended143(MadeUp):
        """Is ended, as by SIGTERM, in the middle of its work."""

        def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
            raise SystemExit(143)

    model = str(summed(tmp_path / "sum.onnx"))
    found = {"first": MadeUp({model: 1.0}, own_mib=9.0), "second": Ended143({model: 1.0}, own_mib=9.0)}
    monkeypatch.setattr(run.devices, "connect", found.__getitem__)
    kept: list[Mapping[str, Any]] = []
    with pytest.raises(SystemExit):
        run.measure_file(Path(model), run.Plan(addresses=("first", "second"), mode="smoke"), Progress(silent, "bench"), kept.append)
    assert [(one["device"], one["status"]) for one in kept[-1]["devices"]] == [("made-up", "ok")]
    assert {one["metric"] for one in kept[-1]["measurements"]} == {"latency_ms", "load_ms", "first_ms", "peak_mib"}
