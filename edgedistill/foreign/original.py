"""The original on the judging inputs: its answers, what each output is, and whether they are numbers at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgedistill import runtime
from edgedistill.errors import ConfigError, Fault
from edgedistill.foreign import finite
from edgedistill.foreign.figures import place
from edgedistill.foreign.kinds import Clues, Kind, clues, kind_of, named, varying
from edgedistill.foreign.samples import Samples

KEPT_BYTES = 256 * 2**20  # of answers; more are computed again


class Original:
    """Answers of an fp32 file to judging rows, computed once where they are small enough to keep."""

    def __init__(self, file: Path, samples: Samples, threads: int) -> None:
        self.samples = samples
        self.session = runtime.open_session(file, threads=threads)
        self.names = [one.name for one in self.session.get_outputs()]
        self._kept: dict[int, list[NDArray[Any]]] = {}
        self._room = KEPT_BYTES

    def answer(self, at: int) -> list[NDArray[Any]]:
        """What it says of a judging row."""
        if at in self._kept:
            return self._kept[at]
        found: list[NDArray[Any]] = self.session.run(self.names, dict(self.samples.feed(self.samples.judging[at])))
        size = sum(array.nbytes for array in found)
        if size <= self._room:
            self._kept[at], self._room = found, self._room - size
        return found

    def answers(self, first: int | None = None) -> Iterator[list[NDArray[Any]]]:
        """What it says of the first rows, or of all."""
        return (self.answer(at) for at in range(len(self.samples.judging[:first])))

    def kinds(self, model: Any, classes: Sequence[str], not_finite: float) -> dict[str, Kind]:
        """What each output is, by name, seen over all judging rows; `classes` are the outputs that --classes names.

        Raises ConfigError where --classes names none of them, where more of an output than a share of `not_finite` is NaN or infinite, and where
        every output is empty for every row.
        """
        asked, said = named(classes, self.names), clues(model)
        seen = {name: _Seen(odd=[0] * len(self.samples.judging)) for name in self.names}
        for at, found in enumerate(self.answers()):
            sizes = tuple(array.shape for array in self.samples.feed(self.samples.judging[at]).values())
            for name, array in zip(self.names, found, strict=True):
                if not at:
                    seen[name].kind = kind_of(name, array, said, self.samples.inputs, asked)
                seen[name].add(at, array, sizes)
        faults = [fault for name in self.names for fault in self._odd(name, seen[name], not_finite)]
        if faults:
            raise ConfigError(faults)
        if not any(one.size for one in seen.values()):
            what = f"its outputs ({', '.join(self.names)}) are empty for every judging input: there is nothing to compare"
            raise ConfigError(what, hint="give real inputs with --calibration FILE")
        return {name: _settled(one, said.shapes.get(name, ())) for name, one in seen.items()}

    def _odd(self, name: str, seen: _Seen, allowed: float) -> list[Fault]:
        """The fault of an output that is no number too often: its first such row, and how many there are."""
        bad = [at for at, count in enumerate(seen.odd) if count]
        if sum(seen.odd) <= allowed * seen.size or not bad:
            return []
        array = self.answer(bad[0])[self.names.index(name)]
        what = f"the model itself, in fp32, answers NaN or infinity: {finite.said(*finite.bad(array))} of {array.size} values"
        what += f" for judging input {self._where(bad[0])}, and such values for {len(bad)} of {len(seen.odd)} inputs"
        what += f", {sum(seen.odd) / seen.size:.2%} of all, above {allowed:.2%}" if allowed else ""
        return [Fault(f"output '{name}'", what, f"give real inputs with --calibration FILE, or other ones; {finite.ALLOW}")]

    def _where(self, at: int) -> str:
        place_in_file = len(self.samples.calibration) + at
        return f"{at} (sample {self.samples.places[place_in_file]} of the file)" if place_in_file < len(self.samples.places) else str(at)


@dataclass(slots=True)
class _Seen:
    """An output over the rows: its kind by the first, its shapes by those of the inputs, its decisions, how many of its values are no numbers."""

    odd: list[int]
    kind: Kind = field(default=Kind(measure="", why=""))
    shapes: dict[Any, set[tuple[int, ...]]] = field(default_factory=dict)
    places: set[int] = field(default_factory=set)
    size: int = 0

    def add(self, at: int, array: NDArray[Any], sizes: Any) -> None:
        self.shapes.setdefault(sizes, set()).add(array.shape)
        self.odd[at] = sum(finite.bad(array))
        self.size += array.size
        if self.kind.measure == "argmax" and array.ndim > self.kind.axis:
            self.places.add(hash(place(array, self.kind.axis).tobytes()))


def _settled(seen: _Seen, declared: Sequence[int | str]) -> Kind:
    """The kind, once all rows are known: a length that depends on the data, and a decision that is always the same, are measured otherwise."""
    for shapes in seen.shapes.values():
        if len(shapes) > 1:
            return as_items(shapes)
    if seen.kind.measure == "argmax" and len(seen.places) < 2:
        return replace(seen.kind, measure="near", why="its largest value is at the same place for every judging input, which says nothing")
    return seen.kind


def as_items(shapes: set[tuple[int, ...]]) -> Kind:
    """The measure of an output that has several shapes for inputs of one shape."""
    axes = list(varying(shapes)) if len({len(one) for one in shapes}) == 1 else []
    if len(axes) != 1:
        return Kind(measure="not compared", why=f"its {'sizes on several axes' if axes else 'number of axes'} depend{'s' * (not axes)} on the data")
    return Kind(measure="items", why=f"its length, on axis {axes[0]}, depends on the data", axis=axes[0])


def is_open(said: Clues, name: str, axes: Sequence[int]) -> bool:
    """Whether a graph leaves these axes of an output open."""
    shape = said.shapes.get(name, ())
    return not shape or all(axis < len(shape) and not (isinstance(shape[axis], int) and shape[axis]) for axis in axes)
