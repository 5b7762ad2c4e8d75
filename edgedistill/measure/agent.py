"""What runs on the device: load one model in a fresh process, check its answers, time it, and write raw numbers.

    python agent.py JOB.json RESULT.json
    python agent.py ROOT                    print what can be read of the machine whose files lie under ROOT: / for this one

It imports nothing of edgedistill but `agent_session.py`, which lies beside it, so the two can be sent to any machine that has numpy and onnxruntime.
"""

import json
import os
import signal
import sys
import time
from array import array
from glob import glob
from typing import Any

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # an isolated interpreter leaves it out; last, so that it hides nothing
from agent_session import NoProviderError, feed, look, open_session, traced  # type: ignore[import-not-found]

WARM_CHANGE = 0.02  # warm when two passes over the rows have medians this close
WARM_MIN_S, WARM_MAX_S, WARM_MAX_PASSES = 0.3, 20.0, 50
PROBES, PROBE_LOOPS = 32, 10_000  # 32 times about half a millisecond
QUARTERS = 4  # after each of them the resident memory is read
CPUS = "sys/devices/system/cpu/cpu*/"
READINGS = (  # name, where, what becomes of the numbers that are found, its unit
    ("mhz", CPUS + "cpufreq/scaling_cur_freq", lambda found: sum(found) / len(found), 1e3),
    ("celsius", "sys/class/thermal/thermal_zone*/temp", max, 1e3),
    ("throttles", CPUS + "thermal_throttle/core_throttle_count", sum, 1),
    ("energy_uj", "sys/class/powercap/intel-rapl:0/energy_uj", max, 1),
    ("energy_wrap_uj", "sys/class/powercap/intel-rapl:0/max_energy_range_uj", max, 1),
    ("battery_uah", "sys/class/power_supply/battery/charge_counter", max, 1),
    ("battery_uv", "sys/class/power_supply/battery/voltage_now", max, 1),
)


def main(job_file: str, result_file: str) -> None:
    """Do the job and write the result."""
    end_with_parent()
    with open(job_file, encoding="utf-8") as file:
        job = json.load(file)
    try:
        result = look(job["look"]) if "look" in job else traced(job, measure(job))
    except NoProviderError as error:
        result = {"status": "no_provider", "detail": str(error)}
    with open(result_file, "w", encoding="utf-8") as file:
        json.dump(result, file)


def end_with_parent() -> None:
    """Linux kills this process when whoever asked is killed."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        os.kill(int(os.environ.get("EDGEDISTILL_ASKER", os.getpid())), 0)  # raises where it was gone before this line


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Import, load, first answer, golden check, warm-up, steady samples, peak memory — apart.

    Right before the steady samples and right after them: a probe of the machine's speed, and what can be read of its state.
    """
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
    timed_feeds = [feed(np, one, names) for one in job.get("timed") or []] or feeds
    started = time.perf_counter()
    session.run(None, timed_feeds[0])
    first_ms = (time.perf_counter() - started) * 1e3
    wrong = worst_difference(np, session, job, feeds)
    warmups = warm_up(session, timed_feeds, job)
    probe_before, state_before = probe(job), state(job)
    samples, resident = steady(session, timed_feeds, job)
    state_after, probe_after = state(job), probe(job)
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
        "resident_mib": resident,
        "before": state_before,
        "after": state_after,
        "probe_before_ms": probe_before,
        "probe_after_ms": probe_after,
        "baseline_mib": before,
        "peak_mib": resident_mib("VmHWM") - before,
        "onnxruntime": ort.__version__,
        "providers": session.get_providers(),
    }


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
    most_s = min(WARM_MAX_S, job.get("max_s", WARM_MAX_S))
    while is_timed(job) and len(samples) < WARM_MAX_PASSES * len(feeds) and time.perf_counter() - started < most_s:
        window = [timed(session, one) for one in feeds]
        samples += window
        windows.append(sorted(window)[len(window) // 2])
        settled = len(windows) >= 2 and abs(windows[-1] / windows[-2] - 1) <= WARM_CHANGE
        if settled and time.perf_counter() - started >= WARM_MIN_S:
            break
    return samples


def is_timed(job: dict[str, Any]) -> bool:
    """Whether anything is to be timed."""
    return bool(job["min_runs"] or job["min_s"])


def steady(session: Any, feeds: list[dict[str, Any]], job: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Samples in ms, whole passes over the rows, until `way` is gone; and the resident memory in MiB at the start and after each quarter.

    Where the job has a `max_s`, no pass but the first begins after so many seconds.
    """
    ends = time.perf_counter() + job.get("max_s", float("inf"))
    samples = array("d")  # a model of microseconds has millions; a list of floats would look like a leak
    resident = [resident_mib("VmRSS")] if is_timed(job) else []
    spent_ms = gone = 0.0
    while gone < 1 and resident and (not samples or time.perf_counter() < ends):
        for one in feeds:
            samples.append(timed(session, one))
            spent_ms += samples[-1]
        gone = way(job, len(samples), spent_ms)
        while len(resident) <= min(gone, 1) * QUARTERS:
            resident.append(resident_mib("VmRSS") - len(samples) * samples.itemsize / 2**20)  # the samples are ours, not the model's
    return samples.tolist(), resident


def way(job: dict[str, Any], runs: int, spent_ms: float) -> float:
    """The share of the way: 1 at `min_runs` samples and `min_s` seconds inside them, whichever comes last."""
    asked = ((runs, job["min_runs"]), (spent_ms / 1e3, job["min_s"]))
    return min(float(have / wanted) for have, wanted in asked if wanted)


def timed(session: Any, one: dict[str, Any]) -> float:
    """One run in ms."""
    started = time.perf_counter()
    session.run(None, one)
    return (time.perf_counter() - started) * 1e3


def probe(job: dict[str, Any]) -> list[float]:
    """The time in ms of the same arithmetic, again and again: only the machine can change it. Nothing where nothing is timed."""
    return [probed() for _ in range(PROBES)] if is_timed(job) else []


def probed() -> float:
    """A fixed chain of multiplications and additions, in ms."""
    started = time.perf_counter()
    value = 1
    for _ in range(PROBE_LOOPS):
        value = (value * 1664525 + 1013904223) & 0xFFFFFFFF
    return (time.perf_counter() - started) * 1e3


def state(job: dict[str, Any]) -> dict[str, Any]:
    """The readings of this machine. None where nothing is timed."""
    return reading("/") if is_timed(job) else {}


def reading(root: str) -> dict[str, Any]:
    """The machine's state; what cannot be read is absent.

    load_1min; governor of the first CPU; mhz, the CPUs' mean; celsius, the hottest zone; throttles, ticks (all, waiting for disks, stolen by
    the host), energy and charge as counters since the start; cpu_s, the CPU time of this process, and preempted, how often it was put off a
    CPU against its will.
    """
    found: dict[str, Any] = {}
    for load in words(root, "proc/loadavg"):
        found["load_1min"] = float(load[0])
    for governor in words(root, CPUS + "cpufreq/scaling_governor")[:1]:
        found["governor"] = governor[0]
    for name, pattern, fold, unit in READINGS:
        if numbers := [float(one[0]) for one in words(root, pattern)]:
            found[name] = fold(numbers) / unit
    for line in words(root, "proc/stat"):
        ticks = [float(one) for one in line[1:9]]  # user nice system idle iowait irq softirq steal; what follows is in them
        found |= {"ticks": sum(ticks), "ticks_iowait": ticks[4], "ticks_steal": ticks[7]}
    found["cpu_s"] = time.process_time()
    try:
        import resource
    except ImportError:  # Windows
        return found
    return {**found, "preempted": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw}


def words(root: str, pattern: str) -> list[list[str]]:
    """The words of the first line of every file that there is; a sensor that is asleep gives none."""
    lines = []
    for place in sorted(glob(os.path.join(root, pattern))):
        try:
            with open(place, encoding="ascii") as file:
                lines.append(file.readline().split())
        except OSError:
            continue
    return [line for line in lines if line]


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
    if len(sys.argv) == 2:
        print(json.dumps(reading(sys.argv[1])))
    else:
        main(sys.argv[1], sys.argv[2])
