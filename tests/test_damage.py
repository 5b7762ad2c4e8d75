"""Documents of a bundle whose parts are of another kind: each place is named, and none is a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedistill.bundle import reader, tensors
from edgedistill.bundle.damage import hollow, noticed
from edgedistill.errors import IntegrityError


@pytest.mark.parametrize(
    ("value", "shape", "places"),
    [
        ({"a": 1, "more": None}, {"a": int}, []),
        ({"a": True}, {"a": int}, ["a"]),
        ({"a": True}, {"a": bool}, []),
        ({}, {"a": {"b": int}}, ["a"]),
        ({"a": {"b": "1", "c": []}}, {"a": {"b": int, "c": [str]}}, ["a.b"]),
        ({"a": ["x", None, "y", 3]}, {"a": [str]}, ["a.1", "a.3"]),
        ({"a": "xy"}, {"a": [str]}, ["a"]),
        ({"x": {"sha256": "1"}, "y": {}, "z": []}, {str: {"sha256": str}}, ["y.sha256", "z"]),
        ([], {"a": int}, [""]),
    ],
)
def test_places_are_named_when_a_document_is_not_of_its_shape(value: Any, shape: Any, places: list[str]) -> None:
    assert hollow(value, shape) == places


def example(shape: Any) -> Any:
    """The least document of a shape."""
    if isinstance(shape, type):
        return shape()
    if isinstance(shape, list):
        return [example(shape[0])]
    return {"x" if name is str else name: example(inner) for name, inner in shape.items()}


def opened(folder: Path, **changes: Any) -> reader.Bundle:
    manifest = {"schema": tensors.SCHEMA, **example(tensors.MANIFEST), **changes}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return reader.open_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": ["a list"]}, r"the schema \['a list'\]"),
        ({"schema": None}, "the schema None"),
        ({"model": {"files": "model.onnx"}}, r"without a sound model\.files$"),
        ({"inputs": [{"name": "ids"}, {"name": 7}], "n_test": True}, r"without a sound n_test, inputs\.1\.name$"),
        ({"lineage": {"original": ["a"]}}, r"without a sound lineage\.original$"),
        ({"files": {"model.onnx": None}}, r"without a sound files\.model\.onnx$"),
    ],
)
def test_bundle_is_refused_when_its_manifest_has_a_part_of_another_kind(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert opened(tmp_path).foreign
    with pytest.raises(IntegrityError, match=told):
        opened(tmp_path, **changes)


def test_bundle_is_refused_when_its_manifest_is_nested_too_deep(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 5000, encoding="utf-8")
    with pytest.raises(IntegrityError, match="nested too deep"):
        reader.open_bundle(tmp_path)


def test_golden_cases_are_damaged_when_an_array_of_theirs_is(tmp_path: Path) -> None:
    bundle = opened(tmp_path, inputs=[{"name": "x"}], outputs=[{"name": "y"}])
    (tmp_path / "golden.json").write_text('{"cases": 1}', encoding="utf-8")
    np.savez(tmp_path / "golden.npz", **{"0/in/0": np.ones(2), "0/out/0": np.ones(2)})
    assert len(tensors.cases(bundle)) == 1
    (tmp_path / "golden.npz").write_bytes(b"xx" + (tmp_path / "golden.npz").read_bytes()[2:])
    with pytest.raises(IntegrityError, match=r"golden\.npz is damaged"):
        tensors.cases(bundle)


def test_damage_is_said_with_its_cause_when_it_is_noticed_late(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="is damaged, or of another edgedistill") as caught, noticed(tmp_path):
        assert {"tolerance": [1]}["tolerance"] > 1.0  # type: ignore[operator]
    assert isinstance(caught.value.__cause__, TypeError)
