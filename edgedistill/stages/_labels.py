"""The labels of the data, and the classes that they mean: what is merged, what is called how, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgedistill.errors import DataError, Fault, nearest
from edgedistill.spec import Data
from edgedistill.wording import array


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The data's labels in the order of the logits, and what each is called."""

    labels: list[str]
    names: list[str]

    @property
    def called(self) -> dict[str, str]:
        """The name of each label."""
        return dict(zip(self.labels, self.names, strict=True))

    def spellings(self, merge: Mapping[str, str]) -> dict[str, str]:
        """What the data may write for a class besides its name, with the name."""
        known = self.called
        found = {**known, **{spelling: known.get(label, label) for spelling, label in merge.items()}}
        return {spelling: name for spelling, name in found.items() if spelling != name}


class Reader:
    """Reads targets, with `merge` applied; knows afterwards which labels there were."""

    def __init__(self, task: Any, spec: Data) -> None:
        self._task, self._spec = task, spec
        self._seen: set[str] = set()

    def target(self, value: str, example: Mapping[str, Any]) -> Any:
        """What a label says. Raises ValueError as the task does."""
        found = self._task.target(value, example, self._spec)
        if not self._spec.merge:
            return found
        self._seen.update(_labels(found))
        return self._task.respelled(found, self._spec.merge)

    def settle(self) -> None:
        """Raise DataError where `merge` names labels that no row has."""
        unseen = [spelling for spelling in self._spec.merge if spelling not in self._seen]
        if unseen:
            raise DataError(Fault(f"data.merge.{one}", f"no row has the label '{one}'", nearest(one, self._seen)) for one in unseen)


def counted(targets: Iterable[Any]) -> Counter[str]:
    """The rows that have each label."""
    return Counter(label for target in targets for label in _labels(target))


def _labels(target: Any) -> set[str]:
    return {target} if isinstance(target, str) else set(target)


def classes(labels: Sequence[str], names: Sequence[str] | None, merge: str = "") -> Classes:
    """The classes of the data's labels; `names` are as the recipe has them, `merge` the line that would make fewer classes of these labels.

    Raises DataError with all that is wrong with the names.
    """
    if names is None:
        return Classes(labels=list(labels), names=list(labels))
    if set(names) == set(labels):
        return Classes(labels=list(names), names=list(names))
    if len(names) != len(labels):
        hint = f"if some are one class: {merge}" if merge else f"one for each, like names = {array(labels)}"
        raise DataError([Fault("data.names", f"{len(names)} names, but the data has {len(labels)} classes: {', '.join(labels)}", hint)])
    if set(labels) != set(map(str, range(len(labels)))):
        unknown = [name for name in names if name not in labels]
        what = "'{}' is no label of the data; where those are not 0, 1, 2 …, names is their order"
        raise DataError(Fault("data.names", what.format(name), nearest(name, labels)) for name in unknown)
    return Classes(labels=sorted(labels, key=int), names=list(names))
