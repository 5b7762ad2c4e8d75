"""Charts as SVG that lives inside a page: inherits its colours and font, shares no id with another chart, loads nothing."""

from __future__ import annotations

import io
import re
from html import escape
from math import ceil, floor, log10
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#0a0b0c"  # stands for the page's text colour until the SVG is written
# at least 3:1 on white and on the dark page
COLOURS = {"teacher": "#4c86d6", "original": "#4c86d6", "student": "#d2691e", "control": "#a56cc1", "bundle": "#179c74"}
OTHER = "#8a8f98"
MARKERS = {"teacher": "s", "original": "s", "student": "o", "control": "^", "bundle": "D"}
FONT_PT = 9.0
LETTER_PT = 0.57 * FONT_PT
WIDTH_IN = 5.6
EDGE = 0.12  # of an axis: where a text in the middle of its point would stick out
MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(tenths / 10 for tenths in range(10, 100)))
MOST_TICKS = 6


def axes(height_in: float = 3.6, left: float = 0.12) -> tuple[Figure, Any]:
    """A figure with one bare pair of axes: two spines and a faint grid. `left` is the margin's share of the width."""
    figure = Figure(figsize=(WIDTH_IN, height_in))
    plot = figure.add_axes((left, 0.56 / height_in, 0.95 - left, 1 - 0.86 / height_in))
    plot.spines[["top", "right"]].set_visible(False)
    plot.spines[["left", "bottom"]].set_color(INK)
    plot.spines[["left", "bottom"]].set_alpha(0.5)
    plot.tick_params(which="both", colors=INK, labelsize=FONT_PT, length=3)
    plot.minorticks_off()
    plot.grid(color=INK, alpha=0.12, linewidth=0.7)
    plot.set_axisbelow(True)
    return figure, plot


def label_axes(plot: Any, x: str, y: str) -> None:
    """Names the axes: x below, y above the corner, where it reads without turning the head."""
    plot.set_xlabel(literal(x), color=INK, fontsize=FONT_PT)
    plot.set_title(literal(y), color=INK, fontsize=FONT_PT, loc="left")


def log_x(plot: Any, low: float, high: float, unit: str) -> None:
    """A logarithmic x axis over a range, with plain numbers on it."""
    plot.set_xscale("log")
    plot.set_xlim(low, high)
    ticks = log_ticks(low, high)
    plot.set_xticks(ticks, [f"{tick:,.6g} {unit}" for tick in ticks])
    plot.minorticks_off()


def log_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers inside a range, from the coarsest series that has three."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks: list[float] = []
    for mantissas in MANTISSAS:
        ticks = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas if low <= mantissa * 10.0**decade <= high]
        if len(ticks) >= 3:
            break
    return ticks[:: max(1, ceil(len(ticks) / MOST_TICKS))]


def inward(plot: Any, x: float) -> str:
    """The alignment of a short text at x on a logarithmic axis that keeps it inside the plot."""
    low, high = plot.get_xlim()
    place = log10(x / low) / log10(high / low)
    return "left" if place < EDGE else "right" if place > 1 - EDGE else "center"


def width_share(letters: int) -> float:
    """The share of a figure's width that a line takes: letters are wider than most fonts need, so that the page's own font fits."""
    return letters * LETTER_PT / (72 * WIDTH_IN)


def literal(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an <svg> element; `name` must be unique on the page, `description` is what a screen reader says."""
    settings = {"svg.hashsalt": name, "svg.fonttype": "none"}  # read only from the global settings, which the block gives back
    stream = io.StringIO()
    with mpl.rc_context(settings):
        figure.savefig(stream, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = stream.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<style\b.*?</style>", "", drawn, flags=re.DOTALL)  # would style the whole page
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawn)
    drawn = re.sub(r' (?:width|height)="[^"]*"', "", drawn, count=2)  # the <svg> tag's own: the page decides
    return drawn.replace(INK, "currentColor").replace("<svg ", f'<svg class="chart" role="img" aria-label="{escape(description)}" ', 1)
