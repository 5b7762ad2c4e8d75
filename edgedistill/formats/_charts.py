"""The charts of a report; a chart without data is a sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import quantiles
from typing import Any

from edgedistill.formats import _scatter, _svg
from edgedistill.formats._statistics import RUNS_NEEDED, percentile
from edgedistill.formats._summary import is_foreign, judged_on
from edgedistill.formats._text import provenance, quantity
from edgedistill.spec import Curve, Measurement, Report

MOST_LETTERS = 24  # of a row's name
MOST_DOTS = 240  # a row of more is drawn by as many of its order statistics, ends included
GOLDEN = 0.618034  # multiples of it, modulo 1, spread dots evenly and reproducibly
LINES = ("-", "--", ":", "-.")
TRAINING_COLOURS = {"teach": "teacher", "control": "control"}
STUDENT_COLOURS = (_svg.COLOURS["student"], "#c2477f", "#8c7a1f", "#3a9bb0", _svg.OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawn chart with its caption; `svg` is empty where there is nothing to draw, and the caption then says so."""

    title: str
    svg: str
    caption: str


def charts(report: Report) -> tuple[Chart, ...]:
    """Every chart, in the order in which they answer questions."""
    return (_size(report), _latency(report), _distribution(report), *_curves(report))


def _size(report: Report) -> Chart:
    title, points = f"Size and {report.metric}", _scatter.sizes(report)
    if not points:
        return Chart(title=title, svg="", caption="The report names no model.")
    unit, scale = ("MB", 1.0) if max(point.cost for point in points) >= 1 else ("kB", 1e3)
    points = tuple(replace(point, cost=point.cost * scale) for point in points)
    drawn = _scatter.draw(points, "size", f"size in {unit} (log)", unit, report.metric, higher=report.higher_is_better)
    return Chart(title=title, svg=drawn, caption=" ".join((_better(report), "Bars are 95 % intervals.", *_candidates(report, points))))


def _better(report: Report) -> str:
    return f"{'Up' if report.higher_is_better else 'Down'} and left is better."


def _candidates(report: Report, points: tuple[_scatter.Point, ...]) -> tuple[str, ...]:
    """What a reader must know of the points that are no models; nothing where there are none."""
    line = "The line joins what nothing else beats (Pareto front)."
    circles = f"Open circles are candidates that were not shipped, scored on {judged_on(report)}."
    return (line,) if all(point.subject for point in points) else (circles, line)


def _latency(report: Report) -> Chart:
    title, points = f"Latency and {report.metric}", _scatter.latencies(report)
    if not points:
        return Chart(title=title, svg="", caption=f"No model has the {RUNS_NEEDED[50]} measured runs that a median latency needs.")
    drawn = _scatter.draw(points, "latency", "median latency in ms (log)", "ms", report.metric, higher=report.higher_is_better)
    left_out = sorted({one.label for one in _scatter.sizes(report)} - {one.label for one in points})
    said = [_better(report), *_candidates(report, points)]
    said += [f"A candidate's latency is the {_scatter.fp32_of(report)}'s × its ratio."] if not all(point.subject for point in points) else []
    said += [f"Not measured: {', '.join(left_out)}."] if left_out else []
    return Chart(title=title, svg=drawn, caption=" ".join(said))


def _distribution(report: Report) -> Chart:
    title = "Latency of single runs"
    rows = [(one, [sample for sample in one.samples if sample > 0]) for one in report.measurements if one.metric == "latency_ms"]
    rows = [(one, samples) for one, samples in rows if samples]
    if not rows:
        return Chart(title=title, svg="", caption="Latency was not measured.")
    names = _row_names([one for one, _ in rows])
    letters = max(len(line) for name in names for line in name.split("\n"))
    figure, plot = _svg.axes(height_in=0.9 + 0.6 * len(rows), left=max(0.2, _svg.width_share(letters) + 0.03))
    _svg.log_x(plot, min(min(samples) for _, samples in rows) / 1.15, max(max(samples) for _, samples in rows) * 1.15, "ms")
    for y, (measurement, samples) in enumerate(rows):
        _strip(plot, y, measurement, samples)
    plot.set_ylim(len(rows) - 0.4, -0.6)
    plot.set_yticks(range(len(rows)), [_svg.literal(name) for name in names])
    plot.tick_params(axis="y", length=0)
    plot.grid(visible=False, axis="y")
    _svg.label_axes(plot, "latency in ms (log)", "")
    drawn = _svg.svg(figure, "distribution", "; ".join(f"{one.subject}: {len(samples)} runs" for one, samples in rows))
    caption = f"A dot is a run (at most {MOST_DOTS} a row, evenly by rank, ends included); the band is the middle half, the line the median."
    return Chart(title=title, svg=drawn, caption=caption)


def _row_names(some: Sequence[Measurement]) -> list[str]:
    """What stands beside each row: the model, and the device where there are several; on lines of no more than MOST_LETTERS."""
    several = len({one.conditions.get("device") for one in some}) > 1
    lines = [(one.subject, *provenance(one).split(), *((str(one.conditions.get("device")),) if several else ())) for one in some]
    return ["\n".join(line if len(line) <= MOST_LETTERS else f"{line[: MOST_LETTERS - 1]}…" for line in own) for own in lines]


def _strip(plot: Any, y: int, measurement: Measurement, samples: Sequence[float]) -> None:
    colour = _svg.COLOURS.get(measurement.subject, _svg.OTHER)
    dots = _thinned(sorted(samples))
    heights = [y + 0.18 + 0.36 * (index * GOLDEN % 1 - 0.5) for index in range(len(dots))]
    plot.plot(dots, heights, ".", markersize=3.5, markeredgewidth=0, color=colour, alpha=0.55)
    middle = percentile(samples, 50)
    if middle is not None:
        low, _, high = quantiles(samples, n=4, method="inclusive")
        plot.fill_betweenx([y - 0.06, y + 0.42], low, high, color=colour, alpha=0.28, linewidth=0)
        plot.plot([middle, middle], [y - 0.06, y + 0.42], color=_svg.INK, linewidth=1.6, solid_capstyle="butt")
        plot.text(middle, y - 0.11, quantity(middle, "latency_ms"), ha=_svg.inward(plot, middle), va="bottom", fontsize=_svg.FONT_PT, color=_svg.INK)


def _thinned(ordered: Sequence[float]) -> list[float]:
    if len(ordered) <= MOST_DOTS:
        return list(ordered)
    return [ordered[round(index * (len(ordered) - 1) / (MOST_DOTS - 1))] for index in range(MOST_DOTS)]


def _curves(report: Report) -> tuple[Chart, ...]:
    metrics = tuple(dict.fromkeys(curve.metric for curve in report.curves if curve.points))
    if not metrics:
        why = "Nothing was trained: the model came as it was." if is_foreign(report) else "No training curve was recorded."
        return (Chart(title="Training", svg="", caption=why),)
    trainings = tuple(dict.fromkeys(curve.training for curve in report.curves))
    scores_first = sorted(metrics, key=lambda metric: "loss" in metric.lower())
    return tuple(_curve_chart(report.curves, metric, trainings, f"curve{index}") for index, metric in enumerate(scores_first))


def _curve_chart(curves: tuple[Curve, ...], metric: str, trainings: tuple[str, ...], name: str) -> Chart:
    title = f"Training: {metric}"
    series = {one.training: [(x, y) for x, y in one.points if isfinite(y)] for one in curves if one.metric == metric}
    series = {training: points for training, points in series.items() if points}
    if not series:
        return Chart(title=title, svg="", caption="No value of it is a finite number.")
    figure, plot = _svg.axes()
    for training, points in series.items():
        colour, line = _look(training, trainings)
        mark = "o" if len(points) <= 25 else ""
        plot.plot(*zip(*points, strict=True), line, marker=mark, markersize=3, color=colour, linewidth=1.7, label=_svg.literal(training))
    values = [y for points in series.values() for _, y in points]
    if "loss" in metric.lower() and min(values) > 0 and max(values) > 10 * min(values):
        plot.set_yscale("log")
        ticks = _svg.log_ticks(min(values), max(values))
        plot.set_yticks(ticks, [f"{tick:,.6g}" for tick in ticks])
        plot.minorticks_off()
    plot.legend(frameon=False, fontsize=_svg.FONT_PT, labelcolor=_svg.INK)
    _svg.label_axes(plot, "step", metric)
    ends = "; ".join(f"{training} {points[-1][1]:.3g}" for training, points in series.items())
    return Chart(title=title, svg=_svg.svg(figure, name, ends), caption=f"Last values: {ends}.")


def _look(training: str, trainings: tuple[str, ...]) -> tuple[str, str]:
    """Colour and line of a training, the same in every chart; the teacher's and the control's are those of the model."""
    if training in TRAINING_COLOURS:
        return _svg.COLOURS[TRAINING_COLOURS[training]], "-"
    rounds = [one for one in trainings if one not in TRAINING_COLOURS]
    index = rounds.index(training)
    return STUDENT_COLOURS[index % len(STUDENT_COLOURS)], LINES[index // len(STUDENT_COLOURS) % len(LINES)]
