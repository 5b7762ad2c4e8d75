"""Arrays of different shapes in one file: exact, whole again where only the likeliest were kept, and as small as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from edgedistill import ragged


def shapes(draw: np.random.Generator, count: int) -> list[tuple[int, int]]:
    return [(int(answers), int(classes)) for answers, classes in draw.integers(1, 9, (count, 2))]


def wide(draw: np.random.Generator, answers: int, classes: int = 5000) -> np.ndarray:
    """Logits with a peak and a long tail, as a language model's are."""
    return (draw.normal(size=(answers, classes)) * 2 + 8 * (draw.random((answers, classes)) < 0.01)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_arrays_come_back_exactly_when_shapes_differ(dtype: type, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = [(draw.normal(size=shape) * 9).astype(dtype) for shape in [*shapes(draw, 20), (0, 3), (1, 1)]]
    ragged.save(tmp_path / "a.npz", arrays, dtype)
    found = ragged.load(tmp_path / "a.npz")
    assert len(found) == len(arrays)
    for index, array in enumerate(arrays):
        assert found[index].dtype == dtype
        np.testing.assert_array_equal(found[index], array)


def test_one_row_is_meant_when_an_array_has_one_dimension(tmp_path: Path) -> None:
    ragged.save(tmp_path / "a.npz", [np.array([1.0, 2.0]), np.array([3.0])])
    found = ragged.load(tmp_path / "a.npz")
    assert [found[index].tolist() for index in range(2)] == [[[1.0, 2.0]], [[3.0]]]


@pytest.mark.parametrize("classes", [7, 3000])
def test_shards_are_one_when_loaded_together(classes: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = [wide(draw, int(count), classes) for count in draw.integers(1, 5, 12)]
    for index in range(3):
        ragged.save(tmp_path / f"{index}.npz", arrays[4 * index : 4 * index + 4])
    ragged.save(tmp_path / "empty.npz", [])
    ragged.save(tmp_path / "whole.npz", arrays)
    parts = ragged.load(*(tmp_path / f"{name}.npz" for name in ("0", "empty", "1", "2")))
    whole = ragged.load(tmp_path / "whole.npz")
    assert len(parts) == len(whole) == 12
    for index in range(12):
        np.testing.assert_array_equal(parts[index], whole[index])


def test_mass_of_the_tail_is_kept_when_only_the_likeliest_are(tmp_path: Path) -> None:
    """The log-sum-exp over all classes, and every kept class's probability, are those of the whole row."""
    draw = np.random.default_rng(0)
    arrays = [wide(draw, int(count)) for count in draw.integers(1, 6, 30)]
    ragged.save(tmp_path / "a.npz", arrays, np.float32, vocabulary=True)
    found = ragged.load(tmp_path / "a.npz")
    for index, array in enumerate(arrays):
        again = found[index]
        np.testing.assert_allclose(logsumexp(again, axis=1), logsumexp(array.astype(np.float64), axis=1), atol=1e-3)
        for ours, theirs in zip(softmax(again, axis=1), softmax(array.astype(np.float64), axis=1), strict=True):
            top = np.argsort(-theirs)[: ragged.TOP]
            np.testing.assert_allclose(ours[top], theirs[top], rtol=1e-3)
            rest = np.delete(ours, top)
            assert np.ptp(rest) < 1e-9  # what is left is spread evenly
            assert rest.sum() == pytest.approx(np.delete(theirs, top).sum(), rel=2e-3)


@pytest.mark.parametrize("classes", [ragged.WIDE, ragged.WIDE + 1])
def test_all_classes_are_kept_up_to_the_limit_when_saved(classes: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    array = wide(draw, 2, classes)
    ragged.save(tmp_path / "a.npz", [array], vocabulary=True)
    found = ragged.load(tmp_path / "a.npz")
    assert (found.ids is None) == (classes <= ragged.WIDE)
    assert np.array_equal(found[0], array) == (classes <= ragged.WIDE)


@pytest.mark.parametrize(("classes", "kept"), [(3, 3), (77, 77), (1000, 1000)])
def test_row_costs_two_bytes_a_class_when_it_is_a_teachers_shard(classes: int, kept: int, tmp_path: Path) -> None:
    """A shard as `label` writes it: 4096 rows in half precision, at most 2 B a class and 64 B more."""
    draw = np.random.default_rng(0)
    file = tmp_path / "train-00000.npz"
    ragged.save(file, list(draw.normal(size=(4096, 1, classes))), np.float16)
    assert file.stat().st_size / 4096 <= 2 * kept + 64


def test_all_dimensions_are_kept_when_they_are_no_vocabulary(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    array = wide(draw, 2, ragged.WIDE + 1)  # a large embedder's vector, or as many labels
    ragged.save(tmp_path / "a.npz", [array])
    np.testing.assert_array_equal(ragged.load(tmp_path / "a.npz")[0], array)


def test_row_costs_no_vocabulary_when_it_is_wide(tmp_path: Path) -> None:
    """Of 5000 pieces 64 are kept, with their numbers: (2 + 4) · 64 + 4 + 64 B."""
    draw = np.random.default_rng(0)
    file = tmp_path / "train-00000.npz"
    ragged.save(file, [wide(draw, 1) for _ in range(256)], np.float16, vocabulary=True)
    assert file.stat().st_size / 256 <= (2 + 4) * ragged.TOP + 4 + 64


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_shard_is_not_finite_when_one_value_is_not(value: float, tmp_path: Path) -> None:
    ragged.save(tmp_path / "good.npz", [np.ones((2, 3))])
    ragged.save(tmp_path / "bad.npz", [np.ones((2, 3)), np.array([[1.0, value]])])
    assert ragged.load(tmp_path / "good.npz").is_finite()
    assert not ragged.load(tmp_path / "bad.npz").is_finite()


def test_missing_classes_are_closed_when_rows_of_other_widths_are_joined() -> None:
    found = ragged.joined([np.zeros((1, 2)), np.ones((2, 3))])
    assert found.shape == (3, 3)
    assert softmax(found[0]).tolist() == [0.5, 0.5, 0.0]
