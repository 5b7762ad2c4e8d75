"""Mixed precision: the fewest operators stay fp32 with which a quantised file can be shipped, found by measuring.

Everything is quantised. Where that does not hold, operators are ranked by how much the answers' divergence from fp32 falls when that one alone
stays fp32 — in groups of neighbours first where there are many, then within the groups that are needed. The shortest beginning of the ranking
that holds is found by halving, and then thinned out: what holds without an operator is quantised again.

Source: accuracy-aware tuning's fallback of operators by their impact (neural-compressor, docs/source/quantization.md) and the analysis by layer of
Nagel et al. 2021, "A White Paper on Neural Network Quantization", arXiv:2106.08295, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgedistill.quantizers import Source, UnfitError

MOST = 24  # units that are ranked at once
THINNED = 8  # operators that are tried again

Write = Callable[[frozenset[str]], None]  # writes the file with these operators in fp32
Groups = Sequence[Sequence[str]]


def choose(operators: Sequence[str], write: Write, file: Path, source: Source) -> list[str]:
    """The operators to keep in fp32, in the graph's order; `file` is then written with them. Raises UnfitError when all of them are too few."""
    return _Choice(operators, write, file, source).run()


class _Choice:
    """The trials of one search."""

    def __init__(self, operators: Sequence[str], write: Write, file: Path, source: Source) -> None:
        self.operators, self.write, self.file, self.source = operators, write, file, source

    def run(self) -> list[str]:
        """Rank, halve, thin out."""
        if self._holds(()):
            return []
        if not self.operators:
            raise UnfitError("no operator of the graph is quantised, and it does not hold")
        groups = _groups(self.operators)
        needed = self._shortest(self._ranked(groups))
        apart = [[name] for group in needed for name in group]
        if len(needed) < len(apart) <= 2 * MOST:
            needed = self._shortest(self._ranked(apart))
        kept = self._thinned([name for group in needed for name in group])
        self.write(frozenset(kept))
        return [name for name in self.operators if name in kept]

    def _holds(self, kept: Sequence[str]) -> bool:
        self.write(frozenset(kept))
        return self.source.holds(self.file)

    def _ranked(self, groups: Groups) -> Groups:
        """The groups without which the answers come closest to fp32's first."""

        def left(group: Sequence[str]) -> float:
            self.write(frozenset(group))
            return self.source.divergence(self.file)

        return sorted(groups, key=left)

    def _shortest(self, ranked: Groups) -> Groups:
        """The shortest beginning that holds, by doubling and then halving."""

        def holds(count: int) -> bool:
            return self._holds([name for group in ranked[:count] for name in group])

        high = 1
        while not holds(high):
            if high == len(ranked):
                raise UnfitError("with every weighted operator in fp32 it still does not hold")
            high = min(2 * high, len(ranked))
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle, high)
        return ranked[:high]

    def _thinned(self, kept: Sequence[str]) -> list[str]:
        """Without those that turn out not to matter, the least of the ranking first; the last of a shortest beginning is one that does."""
        found = list(kept)
        for name in list(reversed(kept[:-1]))[:THINNED]:
            fewer = [other for other in found if other != name]
            if self._holds(fewer):
                found = fewer
        return found


def _groups(operators: Sequence[str]) -> list[list[str]]:
    """Neighbours together, at most `MOST` groups."""
    size = -(-len(operators) // MOST)
    return [list(operators[start : start + size]) for start in range(0, len(operators), size)]
