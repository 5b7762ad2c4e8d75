"""A report for people: one self-contained page, verdict first, with charts; readable in light, dark and on paper."""

from __future__ import annotations

import re
from pathlib import Path

from edgedistill import packages
from edgedistill.formats import _summary, _tables
from edgedistill.formats._measured import measurements
from edgedistill.spec import Report

TABLES = (
    _tables.devices,
    measurements,
    _tables.candidates,
    _tables.targets,
    _tables.graph,
    _tables.ladder,
    _tables.verdicts,
    _tables.steps,
    _tables.environment,
)
UNBROKEN = re.compile(r"(?<=\d) (?=(?:%|×|B|kB|MB|MiB|ms|million|billion)(?!\w))|(?<=^[✓✗]) ")
PAGE = Path(__file__).with_name("_page.html.j2")


def render(report: Report) -> str:
    """The report as an HTML page.

    Raises ConfigError when matplotlib or jinja2 is not installed.
    """
    packages.need("the HTML report, unlike md and json,", *packages.REPORT)
    from jinja2 import Environment, StrictUndefined

    from edgedistill.formats._charts import charts

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["glued"] = _glued
    page: str = environment.from_string(PAGE.read_text(encoding="utf-8")).render(
        report=report,
        headline=_summary.headline(report),
        failures=_summary.failures(report),
        without_figures=_summary.without_figures(report),
        tiles=_summary.tiles(report),
        models=_tables.subjects(report),
        charts=charts(report),
        tables=tuple(table(report) for table in TABLES),
    )
    return page


def _glued(text: str) -> str:
    """Text in which no line ends between a number and its unit, or after a mark."""
    return re.sub(UNBROKEN, "\N{NO-BREAK SPACE}", text)
