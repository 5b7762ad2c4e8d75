"""The agent's session: which provider it asks ONNX Runtime for, and who ran what. Part of `agent.py`, and like it imports nothing of edgedistill."""

import json
import os
import sys
import tempfile
from collections import Counter
from importlib import import_module
from typing import Any

CPU = "CPUExecutionProvider"
TRACED = 8  # rows of the traced session, after one that warms it


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
