"""Execution providers: the name that people write, ONNX Runtime's own, what brings each, and what a target's profile says to them.

A provider is built into ONNX Runtime, or is a plugin: a Python module beside it that knows the path of a library (`get_library_path()`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgedistill.errors import ConfigError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider: `name` is ONNX Runtime's, `systems` are those that it exists on, `plugins` the modules that may bring it.

    `options` are its own, where a profile says nothing else; `threads` is the option that bounds its threads, for some have a pool of their own.
    On the architectures in `simulated_on` a simulator stands in for its hardware: the answers count there, and no time does.
    """

    name: str
    systems: tuple[str, ...]
    install: str
    plugins: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    threads: str = ""
    simulated_on: tuple[str, ...] = ()


DESKTOPS = ("darwin", "linux", "windows")
OWN = "in an environment of its own, which EDGEDISTILL_PYTHON names"
PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider(name="CPUExecutionProvider", systems=(*DESKTOPS, "android", "ios"), install="pip install onnxruntime"),
    "xnnpack": Provider(
        name="XnnpackExecutionProvider",
        systems=("linux", "android", "ios"),
        install=f"apt-get install python3-onnxruntime   (Debian 13's has it, no wheel does; {OWN})",
        threads="intra_op_num_threads",
    ),
    "openvino": Provider(
        name="OpenVINOExecutionProvider",
        systems=("linux", "windows"),
        install=f"pip install onnxruntime-ep-openvino   (it sees Intel's processors only; for others pip install onnxruntime-openvino {OWN})",
        plugins=("onnxruntime_ep_openvino",),
        options={"device_type": "CPU"},
        threads="num_of_threads",
    ),
    "qnn": Provider(
        name="QNNExecutionProvider",
        systems=("linux", "windows", "android"),
        install="pip install onnxruntime-qnn   (on x86-64 it simulates the accelerator)",
        plugins=("onnxruntime_qnn",),
        options={"backend_type": "htp"},
        simulated_on=("x86_64",),
    ),
    "coreml": Provider(name="CoreMLExecutionProvider", systems=("darwin", "ios"), install="pip install onnxruntime   (on a Mac)"),
    "nnapi": Provider(
        name="NnapiExecutionProvider",
        systems=("android",),
        install="an ONNX Runtime built for Android (Maven: onnxruntime-android); no Python package",
    ),
    "webgpu": Provider(name="WebGpuExecutionProvider", systems=(*DESKTOPS, "web"), install=f"pip install onnxruntime-webgpu   ({OWN})"),
    "cuda": Provider(name="CUDAExecutionProvider", systems=("linux", "windows"), install=f"pip install onnxruntime-gpu   ({OWN})"),
    "tensorrt": Provider(name="TensorrtExecutionProvider", systems=("linux", "windows"), install=f"pip install onnxruntime-gpu tensorrt   ({OWN})"),
}
CPU = PROVIDERS["cpu"]
WEB = {"wasm": "CPUExecutionProvider", "webgpu": "WebGpuExecutionProvider"}  # onnxruntime-web's names


def find(name: str) -> Provider:
    """A provider by its short name or ONNX Runtime's. Raises ConfigError with the nearest names."""
    known = {**PROVIDERS, **{one.name: one for one in PROVIDERS.values()}}
    if name not in known:
        raise ConfigError(f"unknown provider '{name}'", hint=nearest(name, PROVIDERS))
    return known[name]


def install(name: str) -> str:
    """What brings a provider; empty for one that the table does not have."""
    return next((one.install for one in PROVIDERS.values() if one.name == name), "")


def simulated(name: str, arch: str) -> str:
    """What is to be said of a provider's times on an architecture where a simulator does its work; empty elsewhere."""
    if any(one.name == name and arch in one.simulated_on for one in PROVIDERS.values()):
        return f"{name} is a simulator on {arch}: its answers count, its times say nothing of the hardware"
    return ""


def job_keys(provider: Provider, runtime: Mapping[str, Any], threads: int | None) -> dict[str, Any]:
    """What a job says of its session: threads, provider, options, plugins and session entries.

    `runtime` is that of a packed profile, empty where the device is of another system than the profile's. It gives the threads where nobody
    asked for a number, and, with the provider that it names, the provider's options and the session's entries.
    """
    count = threads or int(_value(runtime, "threads", 1))
    own = runtime if _value(runtime, "provider", "") == provider.name else {}
    bound = {provider.threads: str(count)} if provider.threads else {}
    options = {**provider.options, **bound, **_entries(own.get("options", {}))}
    keys = {"threads": count, "provider": provider.name, "options": options}
    return {**keys, "plugins": list(provider.plugins), "session": _entries(own.get("session", {}))}


def forbidden(runtime: Mapping[str, Any]) -> dict[str, str]:
    """The versions of ONNX Runtime that a packed profile's runtime forbids, each with a sentence that says why."""
    return {
        _release(fact["value"]): f"onnxruntime {fact['value']} must not be installed: {fact['note'] or 'its profile forbids it'} ({fact['source']})"
        for fact in runtime.get("known_bad", ())
    }


def fault_of(runtime: Mapping[str, Any], version: str) -> str:
    """What a packed profile's runtime has against a version; empty where nothing. 1.21 and 1.21.0 are the same."""
    return forbidden(runtime).get(_release(version), "")


def _release(version: str) -> str:
    """A version without its build's name and its last zero."""
    return version.partition("+")[0].removesuffix(".0")


def _value(facts: Mapping[str, Any], name: str, default: Any) -> Any:
    return facts[name]["value"] if name in facts else default


def _entries(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Names and values as texts: ONNX Runtime takes no other kind."""
    return {name: str(fact["value"]) for name, fact in facts.items()}
