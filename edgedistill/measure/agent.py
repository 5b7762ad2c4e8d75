"""What runs on the device: load one model in a fresh process, check its answers, time it, and write raw numbers.

    python agent.py JOB.json RESULT.json

It imports nothing of edgedistill, so it can be sent to any machine that has numpy and onnxruntime.
"""

import json
import os
import sys
import time
from typing import Any

WARM_CHANGE = 0.02  # warm when two passes over the rows have medians this close
WARM_MIN_S, WARM_MAX_S, WARM_MAX_PASSES = 0.3, 20.0, 50


def main(job_file: str, result_file: str) -> None:
    """Do the job and write the result."""
    with open(job_file, encoding="utf-8") as file:
        job = json.load(file)
    result = measure(job)
    with open(result_file, "w", encoding="utf-8") as file:
        json.dump(result, file)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Import, load, first answer, golden check, warm-up, steady samples, peak memory — apart."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    started = time.perf_counter()
    import numpy as np
    import onnxruntime as ort

    import_ms = (time.perf_counter() - started) * 1e3
    before = resident_mib("VmRSS")
    reset_peak()
    started = time.perf_counter()
    session = open_session(ort, job)
    load_ms = (time.perf_counter() - started) * 1e3
    names = {entry.name for entry in session.get_inputs()}
    feeds = [feed(np, one, names) for one in job["feeds"]]
    started = time.perf_counter()
    session.run(None, feeds[0])
    first_ms = (time.perf_counter() - started) * 1e3
    wrong = worst_difference(np, session, job, feeds)
    warmups = warm_up(session, feeds, job)
    samples = steady(session, feeds, job)
    answers = {"answers": [kept(session.run(None, one)[0]) for one in feeds]} if job.get("answers") else {}
    return {
        **answers,
        "status": "wrong" if wrong > job.get("tolerance", float("inf")) else "ok",
        "worst_difference": wrong,
        "import_ms": import_ms,
        "load_ms": load_ms,
        "first_ms": first_ms,
        "warmups_ms": warmups,
        "samples_ms": samples,
        "baseline_mib": before,
        "peak_mib": resident_mib("VmHWM") - before,
        "onnxruntime": ort.__version__,
        "providers": session.get_providers(),
    }


def open_session(ort: Any, job: dict[str, Any]) -> Any:
    """A session with the job's threads and provider."""
    ort.set_default_logger_severity(3)
    options = ort.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    return ort.InferenceSession(job["model"], options, providers=[(job["provider"], job.get("options", {}))])


def feed(np: Any, one: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """One row at its natural length, batch 1, as the session's inputs."""
    return {name: np.array(tensor["values"], tensor["dtype"]) for name, tensor in one.items() if name in names}


def worst_difference(np: Any, session: Any, job: dict[str, Any], feeds: list[dict[str, Any]]) -> float:
    """Largest difference from the golden answers, 0 where the job has none. A wrong answer has no latency."""
    if "tensors" in job:
        return worst_tensor(np, session, job, feeds)
    golden = job.get("golden")
    if not golden:
        return 0.0
    worst = 0.0
    for one, picks, want in zip(feeds, job["picks"], golden, strict=True):
        wanted = np.array(want)
        found = picked(np, session.run(None, one)[0], picks)[:, : wanted.shape[1]]
        difference = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
        worst = max(worst, difference if difference == difference else float("inf"))  # an answer that is no number is as wrong as can be
    return worst


def worst_tensor(np: Any, session: Any, job: dict[str, Any], feeds: list[dict[str, Any]]) -> float:
    """Largest difference of any output from its golden values, as a share of the output's scale; infinite where shapes differ."""
    worst = 0.0
    for one, wanted in zip(feeds, job["tensors"], strict=True):
        for found, values, scale in zip(session.run(job["outputs"], one), wanted, job["scales"], strict=True):
            known = np.array(values, float)
            off = float(np.abs(found.astype(float) - known).max(initial=0)) / scale if found.shape == known.shape else float("inf")
            worst = max(worst, off if off == off else float("inf"))  # NaN is not equal to itself
    return worst


def kept(answer: Any) -> dict[str, Any]:
    """A raw answer as JSON can hold it."""
    return {"dtype": str(answer.dtype), "values": answer.tolist()}


def picked(np: Any, raw: Any, picks: dict[str, Any]) -> Any:
    """The answers that count, out of a raw one [1, …]: as it is, at some tokens, or at some tokens of a side."""
    if not picks:
        return raw
    row, at = np.array(picks["row"], int), np.array(picks["at"], int)
    return raw[row, at, np.array(picks["side"], int)] if "side" in picks else raw[row, at]


def warm_up(session: Any, feeds: list[dict[str, Any]], job: dict[str, Any]) -> list[float]:
    """Run until two windows in a row are alike; returns their samples in ms. A window passes over every row, so lengths do not matter."""
    samples: list[float] = []
    windows: list[float] = []
    started = time.perf_counter()
    while (job["min_runs"] or job["min_s"]) and len(samples) < WARM_MAX_PASSES * len(feeds) and time.perf_counter() - started < WARM_MAX_S:
        window = [timed(session, one) for one in feeds]
        samples += window
        windows.append(sorted(window)[len(window) // 2])
        settled = len(windows) >= 2 and abs(windows[-1] / windows[-2] - 1) <= WARM_CHANGE
        if settled and time.perf_counter() - started >= WARM_MIN_S:
            break
    return samples


def steady(session: Any, feeds: list[dict[str, Any]], job: dict[str, Any]) -> list[float]:
    """Samples in ms: at least `min_runs` of them and at least `min_s` seconds inside them, whole passes over the rows."""
    samples: list[float] = []
    spent_ms = 0.0
    while len(samples) < job["min_runs"] or spent_ms < job["min_s"] * 1e3:
        window = [timed(session, one) for one in feeds]
        samples += window
        spent_ms += sum(window)
    return samples


def timed(session: Any, one: dict[str, Any]) -> float:
    """One run in ms."""
    started = time.perf_counter()
    session.run(None, one)
    return (time.perf_counter() - started) * 1e3


def resident_mib(field: str) -> float:
    """A line of /proc/self/status in MiB; the kernel's own counters, no polling. Elsewhere than on Linux the high-water mark stands for both."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith(field))
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024  # macOS counts bytes
    return int(line.split()[1]) / 1024


def reset_peak() -> None:
    """Let VmHWM start anew, where the kernel allows it."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass  # then the peak includes the imports, which load less than any model does


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
