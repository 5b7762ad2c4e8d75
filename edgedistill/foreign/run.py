"""quantize: somebody else's ONNX file in, a verified bundle out. This process never parses the file; two guarded ones do.

The search is a step of the store: asked again it is there, and a killed one goes on from the candidates that it had made.
"""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgedistill import packages, profiles
from edgedistill.bundle.tensors import SCHEMA as BUNDLE_SCHEMA
from edgedistill.bundle.tensors import schema_of
from edgedistill.cache import RESUME, Store, digest_file, digest_folder, key_of
from edgedistill.characters import is_halved
from edgedistill.devices import local
from edgedistill.errors import ConfigError, StageError, WriteError
from edgedistill.foreign import guard, pack
from edgedistill.foreign.limits import limits_of
from edgedistill.progress import Event, Progress, Tell
from edgedistill.spec import Candidate, Step, Target
from edgedistill.wording import megabytes

SCHEMA = "edgedistill.quantize/1"  # 1: first
SEARCH = "search"  # the stage under which the store keeps what was found
VERSION = 4  # of that; 2: of equal costs the nearest to fp32; 3: other floats cast to fp32, weights counted; 4: outputs measured by what they are
TOOLS = ("edgedistill", "onnx", "onnxruntime", "numpy")
SMALL_BYTES = 2 * guard.GIB  # what a guarded process may use, and more only where the file itself is large
LARGE_BYTES = 64 * 2**20  # smaller weights fit what every file may use
LOOK_S = 40.0  # a hostile file costs its user less than a minute
LOOK_BYTES_S = 50e6  # of a large file in a second, for its deadline
SEARCH_S = 180.0
SLOW = 20  # times the runs that a search needs: quantised operators may be slower, and machines busy
TIMES_PEAK = 6  # of the first run's memory: calibration keeps activations, timing keeps sessions
DEATHS = 3  # candidates that may kill the search before it is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for; `which` is the target as it was written, a name or a profile's path.

    `classes` are outputs whose largest value is a decision; `("none",)` says that none is, and nothing leaves it to what the graph says.
    """

    model: Path
    target: Target
    out: Path
    calibration: Path | None
    scheme: str | None
    rows: int
    shapes: Mapping[str, tuple[int, ...]]
    store: Path
    which: str = ""
    classes: tuple[str, ...] = ()


def quantize(asked: Asked, tell: Tell) -> dict[str, Any]:
    """One `edgedistill.quantize/1` document; the bundle lies in `out`.

    Raises ConfigError when the request or the file is refused or a package is missing, StageError when no scheme holds or the guarded process dies.
    """
    packages.need("quantising an ONNX file", "onnx", "sympy")
    target = profiles.only(asked.target, asked.scheme, asked.which) if asked.scheme else asked.target
    wanted = [entry.scheme for entry in target.quantization.allowed]
    _check_places(asked)
    progress = Progress(tell, "quantize")
    progress.begin(f"{asked.model} for {asked.target.name}")
    facts = guard.run("look", _looking(asked), _look_limits(asked))
    progress.note(_seen(facts))
    if asked.calibration is None:
        progress.warn("no --calibration file: inputs are SYNTHETIC, and so is every number below; give real ones before you ship this")
    searched = Store(asked.store).fill(_step(asked, wanted, facts), lambda folder: _fill(asked, wanted, facts, folder, tell))
    found = searched.facts
    if found["samples"]["judged_synthetic"] and asked.calibration is not None:
        progress.warn(f"{found['samples']['sentence']}: what is said of those says little about real ones; give more real rows before you ship this")
    with pack.workplace(asked.out) as place:
        pack.write(asked.target, asked.model, facts, searched, place, asked.out)
    progress.end(f"{found['scheme']} in {asked.out}")
    return _document(asked, facts, found)


def _check_places(asked: Asked) -> None:
    if not asked.model.is_file():
        raise ConfigError(f"there is no model file {asked.model}")
    if is_halved(str(asked.model.absolute())):
        raise ConfigError(f"{asked.model.absolute()}: its name is not UTF-8, which ONNX's own tools cannot open", hint="mv it to a name in UTF-8")
    if asked.calibration is not None and not asked.calibration.exists():
        raise ConfigError(f"--calibration {asked.calibration}: there is no such file")
    out = asked.out
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConfigError(f"--out {out}: is not a folder")
    if out.is_dir() and any(out.iterdir()) and schema_of(out) != BUNDLE_SCHEMA:
        raise ConfigError(f"--out {out}: is not empty, and not a bundle of quantize", hint="name a new folder")
    if out.resolve() in asked.model.resolve().parents:
        raise ConfigError(f"--out {out}: the model lies in it, and the bundle would replace it")


def _looking(asked: Asked) -> dict[str, Any]:
    calibration = str(asked.calibration.resolve()) if asked.calibration else ""
    shapes = {name: list(sizes) for name, sizes in asked.shapes.items()}
    allowed = limits_of(asked.target)["not_finite"]
    return {"model": str(asked.model.absolute()), "shapes": shapes, "calibration": calibration, "not_finite": allowed}


def _size(asked: Asked) -> int:
    """The bytes of the model, of the files beside it that it names, and of the calibration file: what large limits are for."""
    places = [asked.model, *_named(asked.model)]
    if asked.calibration is not None:
        places += [asked.calibration, *asked.calibration.glob("*.npz")]
    return sum(one.stat().st_size for one in places if one.is_file())


def _named(model: Path) -> list[Path]:
    """Large files in the model's folder whose names are among its bytes, where places of weights are plain text."""
    large = [one for one in model.parent.iterdir() if one.is_file() and one.stat().st_size > LARGE_BYTES and not one.samefile(model)]
    if not large or not model.stat().st_size:
        return []
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [one for one in large if content.find(os.fsencode(one.name)) >= 0]


def _look_limits(asked: Asked) -> guard.Limits:
    size = _size(asked)
    seconds = LOOK_S + size / LOOK_BYTES_S
    return guard.Limits(memory_bytes=max(SMALL_BYTES, 4 * size), cpu_s=seconds, wall_s=seconds, file_bytes=2**26)


def _search_limits(asked: Asked, facts: Mapping[str, Any], wanted: Sequence[str]) -> guard.Limits:
    peak, size = int(facts["peak_bytes"]), _size(asked)
    large = peak > SMALL_BYTES // TIMES_PEAK or size > SMALL_BYTES // 4
    memory = 2 * SMALL_BYTES + TIMES_PEAK * max(peak, size) if large else SMALL_BYTES
    runs = (2 * asked.rows + 300) * (len(wanted) + 1)
    seconds = SEARCH_S + SLOW * runs * facts["run_s"] + size / LOOK_BYTES_S * 20
    return guard.Limits(memory_bytes=memory, cpu_s=seconds * local.cores(), wall_s=seconds)


def _seen(facts: Mapping[str, Any]) -> str:
    inputs = "; ".join(f"{one['name']} {one['dtype']}{one['sizes']} ({one['why']})" for one in facts["inputs"])
    floats = ", ".join(f"{kind} {megabytes(size)}" for kind, size in facts["numbers"]["weights"].items()) or "none"
    return f"{megabytes(facts['bytes'])}, weights: {floats}, opset {facts['opset']}, {facts['run_s'] * 1e3:.1f} ms a run. Inputs: {inputs}"


def _step(asked: Asked, wanted: Sequence[str], facts: Mapping[str, Any]) -> Step:
    """The search under everything that its answer depends on."""
    given = asked.calibration
    rows = {} if given is None else digest_folder(given) if given.is_dir() else {given.name: digest_file(given)}
    made = {"version": VERSION, "tools": {name: version(name) for name in TOOLS}, "onnx": facts["sha256"], "calibration": rows}
    own = {name: value for name, value in _job(asked, facts).items() if name not in ("model", "calibration", "run_s", "threads", "hint", "remark")}
    told = {"stage": SEARCH, "wanted": list(wanted), **made, **own}
    return Step(stage=SEARCH, params=None, needs={}, places={}, asked=told, key=key_of(told))


def _fill(asked: Asked, wanted: Sequence[str], facts: Mapping[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    """Search, and keep the chosen file, the fp32 graph that all were held against, and the golden cases."""
    scratch = folder / RESUME
    scratch.mkdir(exist_ok=True)
    try:
        found = _search(asked, wanted, _job(asked, facts) | {"folder": str(scratch.absolute())}, facts, tell)
    except WriteError:  # it goes on when there is room
        raise
    except StageError:
        shutil.rmtree(scratch)  # what was refused once is refused again: nothing to go on from
        raise
    names = {found["file"]: "model.onnx", found["fp32"]: "fused.onnx"}
    for name in {*names, *found["beside"], *found["fp32_beside"], "golden.npz"}:
        (scratch / name).replace(folder / names.get(name, name))
    return found


def _job(asked: Asked, facts: Mapping[str, Any]) -> dict[str, Any]:
    target = asked.target
    return _looking(asked) | {
        "inputs": facts["inputs"],
        "run_s": facts["run_s"],
        "rows": asked.rows,
        "cast": facts["numbers"]["cast"],
        "drawn": facts["drawn"],
        "remark": facts["numbers"]["remark"],
        "opset_max": int(target.runtime.opset.number),
        "ir_max": int(target.runtime.ir_version_max.number),
        "fidelity": limits_of(target),
        "classes": list(asked.classes),
        "fp32_max_abs": float(target.parity.fp32_max_abs.number),
        "model_mb": float(target.budget.model_mb.number),
        "latency_counts": profiles.is_this_machine(target),
        "one_shape": target.graph.shapes.value != "dynamic",
        "threads": min(4, local.cores()),
        "hint": f"leave out --scheme: the best of {target.name} is taken" if asked.scheme else "a profile of your own may allow more: extends = …",
    }


def _search(asked: Asked, wanted: Sequence[str], job: Mapping[str, Any], facts: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """The search in a guarded process; a candidate that kills it is left out, and it goes on."""
    dead: dict[str, str] = {}
    while True:
        left = [scheme for scheme in wanted if scheme not in dead]
        try:
            found = guard.run("search", {**job, "wanted": left}, _search_limits(asked, facts, wanted), lambda event: tell(Event(**event)))
            return found | {"candidates": _in_order(wanted, found["candidates"], dead)}
        except guard.DiedError as death:
            scheme = str(death.during.get("note", ""))
            if scheme not in left or len(left) == 1 or len(dead) >= DEATHS:
                raise
            dead[scheme] = death.args[0].removeprefix("search: ")
            Progress(tell, "quantize").warn(f"{scheme}: {dead[scheme]}; going on without it")


def _in_order(wanted: Sequence[str], tried: Sequence[Mapping[str, Any]], dead: Mapping[str, str]) -> list[Any]:
    by_scheme = {one["scheme"]: one for one in tried}
    lost = {name: asdict(Candidate(scheme=name, engine="", status="not made", reason=f"not made: {why}")) for name, why in dead.items()}
    return [by_scheme.get(name) or lost[name] for name in wanted]


def _document(asked: Asked, facts: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "bundle": str(asked.out.resolve()),
        "target": asked.target.name,
        "scheme": found["scheme"],
        "bytes": found["bytes"],
        "original_bytes": facts["bytes"],
        "fidelity": found["fidelity"],
        "agreement": next(one["agreement"] for one in found["candidates"] if one["status"] == "chosen"),
        "rows": asked.rows,
        "limits": found["limits"],
        "measures": found["measures"],
        "samples": found["samples"],
        "candidates": found["candidates"],
        "notes": found["notes"],
    }
