"""Cost against quality: every model and every quantisation candidate as a labelled point, cost on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, isfinite, radians, sin
from typing import Any

from matplotlib.ticker import MaxNLocator

from edgedistill.formats import _svg
from edgedistill.formats._statistics import median_latency_ms, subject
from edgedistill.formats._text import is_share, score
from edgedistill.spec import Report

DISTANCES_PT = (9, 16, 26, 38, 52, 68, 86)
ANGLES = (0, 180, 90, 270, 35, 325, 145, 215, 60, 120, 240, 300)
HIDDEN = 20  # how much worse it is to cover a mark or another label, or to draw a line through it, than to lie on a line, by area
LINE_PT = 1.5  # half the room that a line takes
LEADER_FROM_PT = 20  # a label farther away than this gets a line to its point
Box = tuple[float, float, float, float]  # left, bottom, right, top; in points


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One model or candidate: what it costs, how good it is."""

    label: str
    subject: str = ""
    cost: float
    score: float
    interval: tuple[float, float] | None = None


def sizes(report: Report) -> tuple[Point, ...]:
    """Size in MB of all models and candidates."""
    costs = {one.name: one.bytes / 1e6 for one in report.subjects}
    return _points(report, costs, {one.scheme: one.bytes / 1e6 for one in report.candidates if one.bytes is not None})


def latencies(report: Report) -> tuple[Point, ...]:
    """Median latency in ms of all that were measured; a candidate's is its fp32 model's, the student's or the original's, times its ratio."""
    medians = {one.name: median_latency_ms(report, one.name) for one in report.subjects}
    fp32 = medians.get(fp32_of(report))
    ratios = {one.scheme: one.latency_ratio for one in report.candidates if one.latency != "emulated"}
    scaled = {scheme: fp32 * ratio for scheme, ratio in ratios.items() if fp32 is not None and ratio is not None}
    return _points(report, {name: value for name, value in medians.items() if value is not None}, scaled)


def fp32_of(report: Report) -> str:
    """The model that the candidates are quantised forms of."""
    return "student" if report.baseline == "teacher" else report.baseline


def front(points: Sequence[Point], *, higher: bool) -> tuple[Point, ...]:
    """The Pareto front, cheapest first: nothing is as cheap and better, or as good and cheaper."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.score if higher else one.score)):
        if not kept or (point.score > kept[-1].score if higher else point.score < kept[-1].score):
            kept.append(point)
    return tuple(kept)


def draw(points: tuple[Point, ...], name: str, axis: str, unit: str, metric: str, *, higher: bool = True) -> str:
    """The points as an SVG chart, with the line of those that no other one beats."""
    figure, plot = _svg.axes()
    costs = [point.cost for point in points]
    room = max(1.5, (max(costs) / min(costs)) ** 0.2)  # beside the outermost points, for their labels
    _svg.log_x(plot, min(costs) / room, max(costs) * room, unit)
    lowest, highest = _range([value for point in points for value in (point.score, *(point.interval or ()))])
    plot.set_ylim(lowest, highest)
    plot.yaxis.set_major_locator(MaxNLocator(6))
    plot.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.6g} %" if is_share(metric) else f"{value:.6g}")
    best = front(points, higher=higher)
    plot.step([one.cost for one in best], [one.score for one in best], where="post", color=_svg.INK, alpha=0.3, linewidth=1, zorder=1)
    for point in points:
        _mark(plot, point)
    _label(plot, points, best)
    _svg.label_axes(plot, axis, metric)
    description = "; ".join(f"{point.label}: {point.cost:.3g} {unit}, {metric} {score(point.score, metric)}" for point in points)
    return _svg.svg(figure, name, description)


def _points(report: Report, costs: dict[str, float], candidate_costs: dict[str, float]) -> tuple[Point, ...]:
    chosen = next((one.scheme for one in report.candidates if one.chosen), "")
    models = tuple(
        Point(
            label=f"bundle ({chosen})" if one.name == "bundle" and chosen else one.name,
            subject=one.name,
            cost=costs[one.name],
            score=one.score,
            interval=one.interval if all(isfinite(bound) for bound in one.interval) else None,
        )
        for one in report.subjects
        if one.name in costs
    )
    bundled = subject(report, "bundle") is not None and "bundle" in costs  # then the chosen candidate is already there
    tried = tuple(
        Point(label=one.scheme, cost=candidate_costs[one.scheme], score=one.score)
        for one in report.candidates
        if one.scheme in candidate_costs and one.score is not None and not (one.chosen and bundled)
    )
    return tuple(point for point in (*models, *tried) if point.cost > 0 and isfinite(point.cost) and isfinite(point.score))


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = max(0.12 * (high - low), 0.005)
    return low - margin, high + margin


def _mark(plot: Any, point: Point) -> None:
    colour = _svg.COLOURS.get(point.subject, _svg.OTHER)
    if point.interval:
        plot.vlines(point.cost, *point.interval, color=colour, linewidth=1.4, alpha=0.7)
    plot.plot(
        [point.cost],
        [point.score],
        marker=_svg.MARKERS.get(point.subject, "o"),
        markersize=7 if point.subject else 5.5,
        color=colour,
        markerfacecolor=colour if point.subject else "none",
        markeredgewidth=1.4,
        linestyle="none",
        zorder=3,
    )


def _label(plot: Any, points: tuple[Point, ...], best: tuple[Point, ...]) -> None:
    """Puts each label at the nearest free place around its point, off the line of the best; the bundle chooses first, then the cheapest."""
    points = tuple(sorted(points, key=lambda point: (point.subject != "bundle", point.cost)))
    to_points = 72 / plot.figure.dpi
    frame = tuple(edge * to_points for edge in plot.get_window_extent().extents)
    centres = [tuple(edge * to_points for edge in plot.transData.transform((point.cost, point.score))) for point in points]
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    for point, (x, _) in zip(points, centres, strict=True):
        if point.interval:
            ends = [plot.transData.transform((point.cost, bound))[1] * to_points for bound in point.interval]
            taken.append((x - 1.5, min(ends), x + 1.5, max(ends)))
    taken += _stairs([plot.transData.transform((one.cost, one.score)) * to_points for one in best])
    labels = taken[: len(points)]  # no label may lie on a mark either
    for point, (x, y) in zip(points, centres, strict=True):
        dx, dy = _free_place(x, y, len(point.label), taken, labels, (frame[0], frame[1], frame[2], frame[3]))
        drawn = len(labels)
        labels.append(_box(x + dx, y + dy, len(point.label), dx))
        labels += _leader(x, y, dx, dy)
        taken += labels[drawn:]
        _write(plot, point, dx, dy)


def _stairs(corners: Sequence[Sequence[float]]) -> list[Box]:
    """The line of the best as boxes: along to the next one's cost, then up or down to it."""
    boxes: list[Box] = []
    for (x, y), (to_x, to_y) in pairwise(corners):
        boxes += [(x, y - LINE_PT, to_x, y + LINE_PT), (to_x - LINE_PT, min(y, to_y), to_x + LINE_PT, max(y, to_y))]
    return boxes


def _leader(x: float, y: float, dx: float, dy: float) -> list[Box]:
    """The line from a far label to its point, as small boxes; a near one has none."""
    steps = int(max(abs(dx), abs(dy)) // (2 * LINE_PT)) if _is_far(dx, dy) else 0
    at = [(x + dx * step / steps, y + dy * step / steps) for step in range(3, steps)]  # off its own mark
    return [(left - LINE_PT, low - LINE_PT, left + LINE_PT, low + LINE_PT) for left, low in at]


def _is_far(dx: float, dy: float) -> bool:
    return dx * dx + dy * dy > LEADER_FROM_PT**2


def _write(plot: Any, point: Point, dx: float, dy: float) -> None:
    start = {"left": (0, 0.5), "right": (1, 0.5), "center": (0.5, 0.5)}[_side(dx)]  # the label's edge nearest to its point
    leader = {"arrowstyle": "-", "color": _svg.INK, "alpha": 0.35, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4, "relpos": start}
    plot.annotate(
        _svg.literal(point.label),
        (point.cost, point.score),
        xytext=(dx, dy),
        textcoords="offset points",
        ha=_side(dx),
        va="center",
        fontsize=_svg.FONT_PT,
        fontweight="bold" if point.subject == "bundle" else "normal",
        color=_svg.INK,
        arrowprops=leader if _is_far(dx, dy) else None,
    )


def _free_place(x: float, y: float, letters: int, taken: list[Box], labels: list[Box], frame: Box) -> tuple[float, float]:
    """The offset nearest to the point at which a label covers nothing, nor its leader a label; if none is free, the one that covers least."""

    def cost(offset: tuple[float, float]) -> float:
        box = _box(x + offset[0], y + offset[1], letters, offset[0])
        hidden = sum(_overlap(one, other) for one in (box, *_leader(x, y, *offset)) for other in labels)
        return _cost(box, taken, frame) + HIDDEN * hidden

    offsets = [(distance * cos(radians(angle)), distance * sin(radians(angle))) for distance in DISTANCES_PT for angle in ANGLES]
    rounded = [(round(dx, 3), round(dy, 3)) for dx, dy in offsets]
    return min(rounded, key=cost)


def _cost(box: Box, taken: list[Box], frame: Box) -> float:
    outside = max(0.0, frame[0] - box[0]) + max(0.0, frame[1] - box[1]) + max(0.0, box[2] - frame[2]) + max(0.0, box[3] - frame[3])
    return 100 * outside + sum(_overlap(box, other) for other in taken)


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


def _side(dx: float) -> str:
    return "left" if dx > 1 else "right" if dx < -1 else "center"


def _box(x: float, y: float, letters: int, dx: float) -> Box:
    """The room that a label takes: letters are wider than most fonts need, so that the page's own font fits."""
    width, height = letters * _svg.LETTER_PT, _svg.FONT_PT * 1.25
    left = {"left": x, "right": x - width, "center": x - width / 2}[_side(dx)]
    return (left, y - height / 2, left + width, y + height / 2)
