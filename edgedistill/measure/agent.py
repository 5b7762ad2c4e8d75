"""What runs on the device: load one model in a fresh process, check its answers, time it, and write raw numbers.

    python agent.py JOB.json RESULT.json

It imports nothing of edgedistill, so it can be sent to any machine that has numpy and onnxruntime.
"""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from typing import Any

CPU = "CPUExecutionProvider"
TRACED = 8  # rows of the traced session, after one that warms it
WARM_CHANGE = 0.02  # warm when two passes over the rows have medians this close
WARM_MIN_S, WARM_MAX_S, WARM_MAX_PASSES = 0.3, 20.0, 50


def main(job_file: str, result_file: str) -> None:
    """Do the job and write the result."""
    with open(job_file, encoding="utf-8") as file:
        job = json.load(file)
    try:
        result = look(job["look"]) if "look" in job else traced(job, measure(job))
    except NoProviderError as error:
        result = {"status": "no_provider", "detail": str(error)}
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


class NoProviderError(Exception):
    """The provider that the job asks for is not here, or refuses the model."""


def open_session(ort: Any, job: dict[str, Any], trace: str = "") -> Any:
    """A session with the job's threads, entries and provider, and no other in its place; with `trace`, one that writes its profile there.

    Raises NoProviderError where the provider is not here or opens no model that the CPU opens.
    """
    ort.set_default_logger_severity(3)
    options = ort.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    for name, value in job.get("session", {}).items():
        options.add_session_config_entry(name, value)
    if trace:
        options.enable_profiling, options.profile_file_prefix = True, trace
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")  # known since 1.24, and no harm before
    chosen = choose(ort, job, options)
    try:
        session = ort.InferenceSession(job["model"], options, enable_fallback=0, **chosen)
    except Exception as error:
        if job["provider"] != CPU and opens(ort, job["model"]):
            raise NoProviderError(f"{job['provider']} refuses the model: {' '.join(str(error).split())[-300:]}") from error
        raise
    if job["provider"] not in session.get_providers():
        raise NoProviderError(f"ONNX Runtime put {', '.join(session.get_providers())} in the place of {job['provider']}")
    return session


def choose(ort: Any, job: dict[str, Any], session_options: Any) -> dict[str, Any]:
    """Give the job's provider to the session's options where it is a plugin, else hand back the argument that names it."""
    name, options = job["provider"], dict(job.get("options", {}))
    module = ""
    if not plugged(ort, job) and name not in ort.get_available_providers():
        module = register(ort, name, job.get("plugins", []))
    kind = options.get("device_type", "")
    found = [one for one in plugged(ort, job) if kind in ("", one.device.type.name, one.ep_metadata.get("ov_device"))]
    if found:
        options.pop("device_type", None)  # a plugin's device is chosen, not named
        session_options.add_provider_for_devices(found[:1], options)
        return {}
    if module:
        raise NoProviderError(f"{module} is here, but sees no {kind or 'device'} of its kind on this machine")
    if name not in ort.get_available_providers():
        raise NoProviderError(f"{name} is not in this onnxruntime {ort.__version__} ({', '.join(ort.get_available_providers())})")
    return {"providers": [(name, options)]}


def plugged(ort: Any, job: dict[str, Any]) -> list[Any]:
    """The devices of the job's plugin, once it is registered."""
    listed = ort.get_ep_devices() if job.get("plugins") and hasattr(ort, "get_ep_devices") else []
    return [one for one in listed if one.ep_name == job["provider"]]


def register(ort: Any, name: str, modules: list[str]) -> str:
    """Register the first plugin that is installed, under the provider's name, for QNN takes the one for the other; returns its module."""
    for module in modules if hasattr(ort, "register_execution_provider_library") else []:
        try:
            library = import_module(module).get_library_path()
        except ImportError:
            continue
        ort.register_execution_provider_library(name, library)
        return module
    return ""


def opens(ort: Any, model: str) -> bool:
    """Whether the CPU opens a model that another provider did not."""
    try:
        ort.InferenceSession(model, providers=[CPU])
    except Exception:
        return False
    return True


def look(providers: dict[str, list[str]]) -> dict[str, Any]:
    """Which providers are here: the built-in ones, and for each plugin its module and the kinds of devices that it sees."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as ort

    found: dict[str, Any] = {name: {} for name in ort.get_available_providers()}
    for name, modules in providers.items():
        if name not in found and (module := register(ort, name, modules)):
            seen = plugged(ort, {"provider": name, "plugins": modules})
            found[name] = {"module": module, "devices": [one.device.type.name for one in seen]}
    return {"status": "ok", "onnxruntime": ort.__version__, "python": sys.version.split()[0], "providers": found}


def traced(job: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The result with its `placement` where the job asks which provider ran what: one more short session, after everything was timed."""
    if result["status"] == "wrong" or not (job.get("trace") or job.get("strict")):
        return result
    import numpy as np
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="edgedistill-") as folder:
        session = open_session(ort, job, os.path.join(folder, "trace"))
        names = {entry.name for entry in session.get_inputs()}
        for one in job["feeds"][:1] + job["feeds"][:TRACED]:
            session.run(None, feed(np, one, names))
        with open(session.end_profiling(), encoding="utf-8") as file:
            placement = placed(json.load(file))
    for name, ops in given(session).items():
        placement.setdefault(name, {"nodes": 0, "time_share": 0.0, "ops": {}})["graph_ops"] = ops
    others = [name for name in placement if name != job["provider"] and placement[name]["nodes"]]
    fell = {"status": "fell_back", "detail": told(job["provider"], placement)} if others else {}
    return {**result, **fell, "placement": placement}


def placed(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By provider, from a profile: how many nodes it ran, how many of each operator, and its share of the time after the first run.

    A part of the graph that a provider compiled is one node here. A kernel of no whole microsecond counts as half of one.
    """
    runs = sorted(one["ts"] for one in events if one.get("name") == "model_run")
    kernels = [one for one in events if one.get("cat") == "Node" and one["name"].endswith("_kernel_time")]
    nodes = {(one["args"]["provider"], one["name"]): one["args"]["op_name"] for one in kernels}
    spent: dict[str, float] = {}
    for one in kernels:
        if len(runs) < 2 or one["ts"] >= runs[1]:
            spent[one["args"]["provider"]] = spent.get(one["args"]["provider"], 0.0) + (one["dur"] or 0.5)
    whole = sum(spent.values())
    ops = {name: Counter(op for (by, _), op in nodes.items() if by == name) for name, _ in nodes}
    return {name: {"nodes": sum(ops[name].values()), "time_share": spent.get(name, 0.0) / whole, "ops": dict(ops[name])} for name in ops}


def given(session: Any) -> dict[str, dict[str, int]]:
    """By provider, the operators of the graph that it was given, those of compiled parts too; empty where ONNX Runtime does not tell."""
    ops: dict[str, Counter[str]] = {}
    for part in getattr(session, "get_provider_graph_assignment_info", list)():
        ops.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return {name: dict(count) for name, count in ops.items()}


def told(asked: str, placement: dict[str, dict[str, Any]]) -> str:
    """Who did the work in the place of the provider that was asked for; nodes are the graph's where ONNX Runtime tells."""
    sizes = {name: sum(one.get("graph_ops", one["ops"]).values()) for name, one in placement.items()}
    share = placement[asked]["time_share"] if asked in placement else 0.0
    others = [
        f"{name} ran {', '.join(f'{op} × {count}' for op, count in sorted(one['ops'].items()))} ({one['time_share']:.0%} of the time)"
        for name, one in placement.items()
        if name != asked and one["nodes"]
    ]
    return f"{asked} ran {sizes.get(asked, 0)} of {sum(sizes.values())} nodes ({share:.0%} of the time); {'; '.join(others)}"


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
