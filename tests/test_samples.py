"""Many samples in little space: how much is lost, that nothing else is, and that older documents are read as before."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import DOCUMENT

from edgedistill import samples
from edgedistill.faces import bench
from edgedistill.measure import table
from edgedistill.measure.document import faults

WHERE = {"device": "local", "threads": 1, "batch": 1}


def document(taken: list[float], warmups: list[float] | None = None) -> dict[str, Any]:
    one = {"subject": "bundle", "metric": "latency_ms", "samples": taken, "warmups": warmups or [], "conditions": WHERE, "provenance": "measured"}
    return {**deepcopy(DOCUMENT), "measurements": [one]}


def test_samples_stay_as_they_are_when_they_are_few() -> None:
    taken = [float(one) for one in np.random.default_rng(0).lognormal(size=samples.MOST)]
    assert samples.packed(document(taken)) == document(taken)


def test_values_and_counts_are_these_when_they_are_counted_by_hand() -> None:
    taken = [0.07123, 0.07118, 0.07161, 1.5021, 1.4999, 19.96, 0.0, 0.0]
    assert samples.counted(taken) == {"values": [0.0, 0.0712, 0.0716, 1.5, 19.95], "counts": [2, 2, 1, 2, 1]}


def test_a_fast_models_document_is_small_and_its_quantiles_are_those_of_all_samples() -> None:
    """Samples of seven microseconds, with a tail of a busy machine's."""
    draw = np.random.default_rng(1)
    taken = 0.007 * draw.lognormal(0, 0.2, 200_000) * np.where(draw.random(200_000) < 0.01, 50, 1)
    whole = document(np.round(taken, 5).tolist(), np.round(taken[:20_000], 5).tolist())
    told = json.dumps(samples.packed(whole))
    assert len(told) < 60_000 < len(json.dumps(whole)) / 20
    (again,) = samples.unpacked(json.loads(told))["measurements"]
    assert len(again["samples"]) == 200_000
    for at in (1, 50, 99):
        assert np.percentile(again["samples"], at) == pytest.approx(np.percentile(whole["measurements"][0]["samples"], at), rel=0.0026)


def test_document_of_either_version_is_reported_on() -> None:
    whole = document(np.linspace(1, 3, 2001).tolist())
    for one in (whole, samples.packed(whole)):
        assert faults(one) == []
        (row, _) = table.rows({**one, "devices": [{**one["devices"][0], "answers": {}}, one["devices"][1]]})
        assert row["latency_ms"] == pytest.approx(2.0, rel=0.0025)


@pytest.mark.parametrize(
    "told",
    [
        {"values": [1.0], "counts": [0]},
        {"values": [1.0], "counts": [2, 2]},
        {"values": ["1"], "counts": [2]},
        {"values": [True], "counts": [1]},
        {"values": [1.0]},
        {"values": [1.0], "counts": [1], "more": 1},
    ],
)
def test_fault_is_named_when_values_and_counts_do_not_fit(told: dict[str, Any]) -> None:
    changed = document([1.0])
    changed["measurements"][0]["samples"] = told
    (fault,) = faults(changed)
    assert fault.startswith("measurements.0.samples: input should be a valid ")


def test_every_sample_is_beside_the_document_in_the_order_of_taking(tmp_path: Path) -> None:
    taken = np.random.default_rng(2).lognormal(sigma=0.1, size=5000).tolist()
    bench._keep(document(taken, [3.0, 2.0]), tmp_path)
    with np.load(tmp_path / "samples.npz") as kept:
        np.testing.assert_array_equal(kept["local 1 1 bundle latency_ms"], np.asarray(taken, np.float32))
        np.testing.assert_array_equal(kept["local 1 1 bundle latency_ms warmups"], [3.0, 2.0])
    assert (tmp_path / "bench.json").stat().st_size < 20_000
