"""Whether a model agrees with itself: asked twice the same, in one session and in a fresh one, it must answer the same.

What operators it has proves nothing: a random one may reach no answer, and an unknown one may be random. Where answers differ only because an
operator with a fixed seed draws on from run to run, and what it draws depends on no input, its first numbers can stand as constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import graphs, runtime
from edgedistill.errors import ConfigError
from edgedistill.foreign import finite
from edgedistill.foreign.inputs import Feeds
from edgedistill.foreign.walk import called, inner

SAME = 1e-4  # of an answer's largest number, and of 1 at least: what is below it no quantised file keeps either
ROWS = 8  # that a model with a random operator is asked: one draw may come out the same twice
DRAWN = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike")
RANDOM = (*DRAWN, "Bernoulli", "Multinomial")
TRAINING: Mapping[str, str] = {"Dropout": "", "BatchNormalization": "training_mode"}  # → the attribute that says so; Dropout's is an input
NAMED = 5

Asked = tuple[Feeds, list[Any]]  # a row, and what was answered to it


def random_nodes(model: Any) -> list[Any]:
    """The operators that draw at random, or are in training mode, and that an answer depends on."""
    return [node for node in _reached(model.graph) if node.op_type in RANDOM or _trains(node)]


def _trains(node: Any) -> bool:
    if node.op_type == "Dropout":
        return len(node.input) > 2 and bool(node.input[2])
    return node.op_type == "BatchNormalization" and any(one.name == "training_mode" and one.i for one in node.attribute)


def _reached(graph: Any) -> Iterator[Any]:
    """The operators behind a graph's outputs, those inside of operators too, last first."""
    wanted = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted.update(_read(node))
            yield node
            for one in inner(node):
                yield from _reached(one)


def _read(node: Any) -> Iterator[str]:
    yield from node.input
    for graph in inner(node):
        yield from (value.name for value in graph.output)
        for one in graph.node:
            yield from _read(one)


def check(file: Path, model: Any, session: Any, asked: Asked, more: Sequence[Feeds]) -> list[str]:
    """What operators with a fixed seed make, where constants in their stead may make the model agree with itself; nothing where it does already.

    `asked` is what a session was asked and said that had been asked it before; of a model with random operators `more` rows are asked twice.
    Raises ConfigError with the operators that make its answers differ.
    """
    drawn = random_nodes(model)
    names = [output.name for output in session.get_outputs()]
    differs = _differ(names, asked[1], runtime.open_session(file, threads=1).run(names, dict(asked[0])))
    differs = differs or (_differs(session, more) if drawn else "")
    if not differs:
        return []
    still = [node.output[0] for node in drawn if _stands(node, model)]
    if not still or len(still) < len(drawn):
        raise _unsteady(file, differs, [node for node in drawn if node.output[0] not in still])
    return still


def _differs(session: Any, rows: Sequence[Feeds]) -> str:
    """How a session's second answers differ from its first; empty where they do not."""
    names = [output.name for output in session.get_outputs()]
    for row in rows:
        try:
            first, second = (session.run(names, dict(row)) for _ in range(2))
        except Exception:  # onnxruntime's own classes share no public base; a row that the model does not take is named by the search
            continue
        if found := _differ(names, first, second):
            return found
    return ""


def _differ(names: Sequence[str], first: Sequence[Any], second: Sequence[Any]) -> str:
    for name, one, other in zip(names, first, second, strict=True):
        if one.shape != other.shape:
            return f"output '{name}' has the shape {list(one.shape)}, then {list(other.shape)}"
        if one.dtype.kind != "f" and not np.array_equal(one, other):
            return f"output '{name}' differs at {np.mean(one != other):.0%} of its places"
        far = finite.largest_difference(one, other)
        if not far <= SAME * max(1.0, float(np.abs(finite.numbers(one)).max(initial=0))):
            return f"output '{name}' differs by {far:.3g}"
    return ""


def _unsteady(file: Path, differs: str, drawn: Sequence[Any]) -> ConfigError:
    more = f" and {len(drawn) - NAMED} more" if len(drawn) > NAMED else ""
    named = ", ".join(map(_why, drawn[:NAMED])) + more or "no operator that is known to draw at random is in it"
    what = f"{file} does not agree with itself: asked twice the same, {differs}: {named}"
    hint = "export it for inference: model.eval() takes Dropout and BatchNormalization out of training; put what is drawn at random into an input"
    return ConfigError(what, hint=f"{hint} (distributions of answers are not compared)")


def _why(node: Any) -> str:
    if node.op_type in TRAINING:
        return f"{called(node)} is in training mode"
    seeded = any(one.name == "seed" for one in node.attribute)
    return f"{called(node)} draws at random" + (", its seed fixes the first run of a session alone" if seeded else "")


def _stands(node: Any, model: Any) -> bool:
    """Whether an operator of the main graph has a fixed seed, and makes numbers of one shape whatever comes in."""
    seeded = node.op_type in DRAWN and any(one.name == "seed" for one in node.attribute)
    if not seeded or not any(node.output[0] in one.output for one in model.graph.node):
        return False
    return not node.op_type.endswith("Like") or _has_one_shape(model, node.output[0])


def _has_one_shape(model: Any, name: str) -> bool:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    value = next((one for one in (*inferred.value_info, *inferred.output) if one.name == name), None)
    return (
        value is not None and value.type.tensor_type.HasField("shape") and all(one.HasField("dim_value") for one in value.type.tensor_type.shape.dim)
    )


def frozen(model: Path, names: Sequence[str], rows: Sequence[Feeds], folder: Path) -> tuple[Path, str]:
    """The model with what a fresh session draws first as constants, and the sentence that says so.

    Raises ConfigError where it does not agree with itself even then.
    """
    import onnx

    message = onnx.load(str(model), format="protobuf")
    own = {output.name for output in message.graph.output}
    message.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in own)
    graphs.save(message, folder / "draws.onnx")
    arrays = runtime.open_session(folder / "draws.onnx", threads=1).run(list(names), dict(rows[0]))
    del message.graph.output[len(own) :]
    gone = [node for node in message.graph.node if set(node.output) & set(names)]
    for node in gone:
        message.graph.node.remove(node)
    message.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in zip(names, arrays, strict=True))
    out = folder / "frozen.onnx"
    graphs.save(message, out)
    for left in folder.glob("draws.onnx*"):
        left.unlink()
    session = runtime.open_session(out, threads=1)
    if differs := _differs(session, rows[:ROWS]):
        raise _unsteady(model, differs, random_nodes(message))
    named = ", ".join(map(called, gone))
    return out, f"a fixed seed: what a session draws first became constants, because it would draw on with each run ({named})"
