"""ONNX models and calibration rows that are damaged or wrong, the same ones for the same number."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from bad_bundles import WILD
from bad_recipes import spoilt
from foreign_models import MUTATIONS, VOCABULARY, classifier, picture, save
from onnx import AttributeProto, ModelProto, TensorProto, helper


def _nodes(model: ModelProto, draw: random.Random) -> None:
    node = draw.choice(model.graph.node)
    way = draw.randrange(6)
    if way == 0:
        node.op_type = draw.choice(["", "Nothing", "Loop", "If", "Reshape", "Concat", "Conv", "é", "a" * 3000, "MatMulInteger", "Identity", "Expand"])
    elif way == 1:
        node.domain = draw.choice(["com.microsoft", "ai.onnx.ml", "x", "\n"])
    elif way == 2 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice(["", "nothing", "logits", "table", "y", "x", "\0", "one"])
    elif way == 3 and node.output:
        node.output[0] = draw.choice(["", "ids", "table", "logits", "x", "y", "new"])
    elif way == 4:
        node.attribute.append(
            draw.choice([helper.make_attribute("axis", 2**62), helper.make_attribute("to", -7), AttributeProto(name="axis"), AttributeProto()])
        )
    else:
        model.graph.node.remove(node)


def _values(model: ModelProto, draw: random.Random) -> None:
    value = draw.choice([*model.graph.input, *model.graph.output])
    kind = value.type.tensor_type
    way = draw.randrange(5)
    if way == 0:
        kind.elem_type = draw.choice([0, 1, 2, 7, 8, 9, 10, 16, 77, -1])
    elif way == 1:
        kind.ClearField("shape")
    elif way == 2:
        kind.shape.dim[0].dim_value = draw.choice([0, -1, 2**31, 2**62, 7])
    elif way == 3:
        value.name = draw.choice(["", "é", "nothing", "../x", "a=b", "a" * 3000, "\x1b[31m"])
    else:
        model.graph.input.append(value)


def _tensors(model: ModelProto, draw: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = draw.choice(model.graph.initializer)
    way = draw.randrange(6)
    if way == 0:
        model.graph.initializer.remove(tensor)
    elif way == 1:
        tensor.data_type = draw.choice([0, 1, 2, 7, 8, 10, 99, -3])
    elif way == 2:
        tensor.raw_data = tensor.raw_data[: draw.randrange(1 + len(tensor.raw_data))]
    elif way == 3:
        tensor.dims.append(draw.choice([0, -1, 2, 2**40]))
    elif way == 4:
        tensor.name = draw.choice(["", "ids", "x", "other"])
    else:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(
            key=draw.choice(["location", "nothing"]), value=draw.choice(["/etc/passwd", "../x", "", "gone.bin", ".", "a\0b", "model.onnx"])
        )


def _head(model: ModelProto, draw: random.Random) -> None:
    way = draw.randrange(5)
    if way == 0 and model.opset_import:
        model.opset_import[0].version = draw.choice([0, -1, 1, 6, 99, 2**40])
    elif way == 1:
        model.ir_version = draw.choice([0, 1, 2, 99, 2**40])
    elif way == 2:
        del model.opset_import[:]
    elif way == 3:
        del model.graph.output[:]
    else:
        model.graph.ClearField(draw.choice(["input", "node", "initializer", "name"]))


def model(draw: random.Random, folder: Path) -> list[str]:
    """The words of a `quantize` whose model or rows are wrong."""
    sound = draw.choice([classifier, picture])()
    words = ["quantize", "model.onnx", "-t", "linux-x64", "--out", "out"]
    way = draw.random()
    if way < 0.55:
        for _ in range(draw.choice([1, 1, 2])):
            draw.choice([_nodes, _values, _tensors, _head])(sound, draw)
        save(sound, folder / "model.onnx")
    elif way < 0.75:
        draw.choice(MUTATIONS)(sound.SerializeToString() if draw.random() < 0.5 else classifier().SerializeToString(), draw, folder)
    elif way < 0.82:
        (folder / "model.onnx").write_bytes(spoilt(sound.SerializeToString(), draw))
    else:
        save(classifier(), folder / "model.onnx")
        words += _calibration(draw, folder)
    if draw.random() < 0.2:
        words += [
            "--shape",
            draw.choice(
                ["ids=1,12", "ids=0", "ids=", "=1", "x=1,3,8,8", "x=99999999999,3,8,8", "ids=1,12,1", "é=1", "ids=1,1e3", "ids=-1,2", "nothing=1"]
            ),
        ]
    return words


def _calibration(draw: random.Random, folder: Path) -> list[str]:
    """A file of rows for the small classifier."""
    ids = np.arange(48).reshape(4, 12) % VOCABULARY
    arrays: dict[str, Any] = {"ids": ids, "mask": np.ones_like(ids)}
    wrong = [
        np.zeros((0, 12), np.int64),
        ids.astype(np.float32),
        np.array(1),
        np.array([["a"]]),
        ids * 10**6,
        -ids,
        ids[:2],
        np.full((4, 12), np.nan),
        ids[..., None],
    ]
    arrays[draw.choice(["ids", "mask", "ids", "other", "é"])] = draw.choice(
        [*wrong, np.array([{}], object), ids.astype(">i8"), ids[:, :0], ids.astype(np.complex64)]
    )
    if draw.random() < 0.2:
        del arrays[draw.choice(["ids", "mask"])]
    name = draw.choice(["rows.npz", "rows.npz", "rows.npy", "rows.jsonl", "rows.csv"])
    with (folder / name).open("wb") as file:
        np.savez(file, **arrays) if draw.random() < 0.7 else np.save(file, arrays.get("ids", ids))
    data = (folder / name).read_bytes()
    lines = [json.dumps({"ids": draw.choice(WILD), "mask": draw.choice([[1] * 12, *WILD])}) for _ in range(4)]
    texts = ["\n".join(lines).encode(), b"{}", b"", b"[1]\n2", b'{"ids": [[1, 2], [3]], "mask": [[1, 1], [1]]}']
    (folder / name).write_bytes(
        draw.choice([data, data, spoilt(data, draw), data[: draw.randrange(len(data))]]) if "jsonl" not in name else draw.choice(texts)
    )
    return ["--calibration", name]
