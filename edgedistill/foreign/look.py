"""The first look at a foreign model, in a guarded process: is it a sound ONNX file, from this folder alone, that ONNX Runtime runs once?

What is refused is a ConfigError: the file is the user's input, whatever is in it.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from edgedistill import runtime
from edgedistill.cache import digest_file
from edgedistill.errors import ConfigError, EdgedistillError, Fault
from edgedistill.foreign import finite, precision, samples, steady
from edgedistill.foreign.child import first_line
from edgedistill.foreign.inputs import Feeds, Input, draw
from edgedistill.foreign.sizes import Attempts
from edgedistill.foreign.walk import nodes, tensors

LARGEST = 2**31 - 1  # bytes of one protobuf message
EXTERNAL = 1  # TensorProto.DataLocation
MOST_FAULTS = 10


def run(job: Mapping[str, Any], hear: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Facts about the model. Raises ConfigError with what is wrong with it."""
    file = Path(job["model"])
    model = parsed(file)
    external = external_files(model, file)
    _check(file, model)
    precision.refuse_quantised(file, model)
    numbers = precision.kinds(model)
    session = _session(file, numbers.cast)
    inputs, seconds, asked = _first_run(session, model, job)
    drawn = steady.check(file, model, session, asked, _rows(inputs, job))
    entries = [file, *external]
    return {
        "sha256": {str(one.relative_to(file.parent)): digest_file(one) for one in entries},
        "bytes": sum(one.stat().st_size for one in entries),
        "opset": opset(model),
        "ir_version": model.ir_version,
        "producer": " ".join(filter(None, (model.producer_name, model.producer_version)))[:200],
        "inputs": [asdict(one) for one in inputs],
        "outputs": [{"name": one.name, "dtype": runtime.DTYPES[one.type], "shape": list(one.shape)} for one in session.get_outputs()],
        "numbers": {"weights": numbers.weights, "values": numbers.values, "cast": numbers.cast, "remark": precision.remark(numbers)},
        "drawn": drawn,
        "run_s": seconds,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def parsed(file: Path) -> Any:
    """The model's message without external data. Raises ConfigError when it is none."""
    import onnx

    if file.stat().st_size > LARGEST:
        raise ConfigError(f"{file} is larger than a protobuf message can be (2 GB)", hint="save the weights as external data beside the model")
    try:
        model = onnx.load(str(file), format="protobuf", load_external_data=False)
    except Exception as error:  # protobuf's own class, which moved between versions
        raise ConfigError(f"{file} is not an ONNX model, or a damaged one: {first_line(error)}") from error
    if not model.graph.node or not model.ir_version or not model.opset_import:
        raise ConfigError(f"{file} is not an ONNX model, or an empty one: it has no operators")
    return model


def opset(model: Any) -> int:
    """The version of the standard's operators."""
    return max((int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)


def external_files(model: Any, file: Path) -> list[Path]:
    """The files beside a model that hold its weights. Raises ConfigError naming each tensor whose place is unsafe, missing or too short."""
    faults, found = [], set[Path]()
    for tensor in tensors(model):
        try:
            if tensor.data_location == EXTERNAL:
                found.add(_external(tensor, file.parent))
            elif min(tensor.dims, default=1) < 0 or np.prod([float(size) for size in tensor.dims]) > 2**40:
                raise ValueError(f"has the dimensions {list(tensor.dims)[:8]}")
        except (ValueError, OSError) as error:
            faults.append(Fault(f"{file}: tensor '{tensor.name[:80]}'", first_line(error)))
    if faults:
        raise ConfigError(faults[:MOST_FAULTS])
    return sorted(found)


def _external(tensor: Any, folder: Path) -> Path:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    shown = location[:200]
    windows = PureWindowsPath(location)
    if not location or "\0" in location:
        raise ValueError("says that its data are elsewhere, but not where")
    if PurePosixPath(location).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise ValueError(f"wants data from outside the model's folder: {shown!r}")
    relative = PurePosixPath(location)
    place = folder / relative
    linked = [part for part in (relative, *relative.parents) if str(part) != "." and (folder / part).is_symlink()]
    if linked or not place.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"wants data through a link: {shown!r}")
    if not place.is_file():
        raise ValueError(f"its data are missing: there is no file {shown!r} beside the model")
    start, length = (_whole(entries.get(key, "0"), key) for key in ("offset", "length"))
    if start + max(length, _nbytes(tensor)) > place.stat().st_size:
        raise ValueError(f"its data reach beyond the end of {shown!r}")
    return place


def _whole(text: str, key: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ValueError(f"its {key} is {text[:40]!r}")
    return int(text)


def _nbytes(tensor: Any) -> int:
    from onnx import helper

    count = 1
    for size in tensor.dims:
        if size < 0:
            raise ValueError(f"has the dimensions {list(tensor.dims)[:8]}")
        count *= int(size)
    name = helper.tensor_dtype_to_string(tensor.data_type).rpartition(".")[2]
    return (count + 1) // 2 if name.endswith("INT4") else count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _check(file: Path, model: Any) -> None:
    """The standard's own checker, then the operators."""
    import onnx

    try:
        onnx.checker.check_model(_with_shapes(model) or str(file))
    except Exception as error:  # ValidationError, and whatever else the checker meets
        raise ConfigError(f"{file} is not a valid ONNX model: {first_line(error)}") from error
    unknown = _unknown_operators(model)
    if unknown:
        named = ", ".join(f"{name} ({count} ×)" for name, count in unknown.most_common(MOST_FAULTS))
        raise ConfigError(f"{file} uses operators that ONNX Runtime does not know: {named}", hint="export it with standard operators")


def _with_shapes(model: Any) -> Any:
    """A copy without inputs and outputs of unknown rank, which ONNX Runtime takes and the checker does not; None where there are none.

    Weights that lie elsewhere are looked for by the path of a file, which a copy has not: they are then left to `external_files`.
    """
    import onnx

    if all(one.type.tensor_type.HasField("shape") or not one.type.HasField("tensor_type") for one in (*model.graph.input, *model.graph.output)):
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for one in (*copy.graph.input, *copy.graph.output):
        if one.type.HasField("tensor_type"):
            one.type.tensor_type.shape.SetInParent()
    for tensor in copy.graph.initializer:
        if tensor.data_location == EXTERNAL:
            dtype, name = tensor.data_type, tensor.name
            tensor.Clear()
            tensor.name, tensor.data_type = name, dtype
            tensor.dims.append(0)
    return copy


def _unknown_operators(model: Any) -> Counter[str]:
    runtime.onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    known = {(schema.domain, schema.name) for schema in state.get_all_operator_schema()}
    known |= {(function.domain, function.name) for function in model.functions}
    domains = {domain for domain, _ in known}
    used = Counter(("" if node.domain == "ai.onnx" else node.domain, node.op_type) for node in nodes(model))
    return Counter({_named(*one): count for one, count in used.items() if one not in known or one[0] not in domains})


def _named(domain: str, operator: str) -> str:
    return f"{domain or 'ai.onnx'}::{operator}"


def _session(file: Path, cast: str) -> Any:
    try:
        session = runtime.open_session(file, threads=1)
    except EdgedistillError as error:
        raise ConfigError(str(error.args[0]).splitlines()[0][:500], hint=f"it computes in {cast}: export it in fp32" if cast else "") from error
    odd = [f"'{one.name}' is a {one.type}" for one in session.get_outputs() if one.type not in runtime.DTYPES]
    if odd:
        raise ConfigError(f"{file}: output {'; '.join(odd)}; only tensors of numbers and truth values can be held against each other")
    return session


def _first_run(session: Any, model: Any, job: Mapping[str, Any]) -> tuple[list[Input], float, steady.Asked]:
    """The inputs at sizes and values that the model runs on, the seconds of a run, and what it was asked and said."""
    failure: Exception | None = None
    attempts = Attempts(session, model, job["shapes"], real=bool(job["calibration"]))
    for inputs in attempts:
        feeds = _feeds(inputs, job)
        try:
            runs = [_timed(session, feeds, job["not_finite"]) for _ in range(2)]
        except Exception as error:  # onnxruntime's own classes share no public base
            failure = error if isinstance(error, finite.NotFiniteError) else failure or error
            attempts.answered |= isinstance(error, finite.NotFiniteError)
            continue
        return [_sized(one, feeds, job["calibration"]) for one in inputs], min(took for took, _ in runs), (feeds, runs[-1][1])
    if job["calibration"]:
        raise samples.not_taken(job["calibration"], 0, failure or ValueError())
    if isinstance(failure, finite.NotFiniteError):
        raise ConfigError(f"{job['model']} runs, but {failure}", hint=f"give real inputs with --calibration FILE; {finite.ALLOW}")
    tried = f" (the first of {attempts.tried} sets of sizes and values that were tried)" if attempts.tried > 1 else ""
    what = f"{job['model']} loads, but does not run on inputs of its own description: {first_line(failure or ValueError())}{tried}"
    raise ConfigError(what, hint=attempts.hint())


def _rows(inputs: Sequence[Input], job: Mapping[str, Any]) -> list[Feeds]:
    """Rows that the model is asked twice."""
    if job["calibration"]:
        return samples.read(Path(job["calibration"]), inputs)[: steady.ROWS]
    return [draw(inputs, row) for row in range(steady.ROWS)]


def _feeds(inputs: Sequence[Input], job: Mapping[str, Any]) -> Feeds:
    return samples.read(Path(job["calibration"]), inputs)[0] if job["calibration"] else draw(inputs, 0)


def _sized(one: Input, feeds: Feeds, file: str) -> Input:
    return replace(one, sizes=tuple(feeds[one.name].shape), why=f"from {Path(file).name}" if file else one.why)


def _timed(session: Any, feeds: Feeds, allowed: float) -> tuple[float, list[Any]]:
    started = time.perf_counter()
    outputs = session.run(None, dict(feeds))
    took = time.perf_counter() - started
    for entry, array in zip(session.get_outputs(), outputs, strict=True):
        if sum(bad := finite.bad(array)) > allowed * array.size:
            raise finite.NotFiniteError(
                f"it answers NaN or infinity to input 0: {finite.said(*bad)} of the {array.size} values of output '{entry.name}'"
            )
    return took, outputs
