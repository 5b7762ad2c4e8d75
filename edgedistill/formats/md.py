"""A report for a pull request or a CI step summary: GitHub-flavoured Markdown."""

from __future__ import annotations

import re

from edgedistill.formats import _summary, _tables
from edgedistill.formats._measured import measurements
from edgedistill.formats._tables import Table
from edgedistill.spec import Report

RULES = {"l": ":--", "r": "--:"}


def render(report: Report) -> str:
    """The report as Markdown, verdict first."""
    parts = (
        f"## {_literal(_summary.headline(report))}",
        "\n".join(f"- ✗ {_literal(sentence)}" for sentence in (*_summary.failures(report), *_summary.without_figures(report))),
        _literal(f"{report.name} for {report.target} · {report.task} · bundle {report.bundle} · {report.created}"),
        _tiles(report),
        _section(_tables.subjects(report)),
        _section(_tables.devices(report)),
        _folded(measurements(report)),
        _section(_tables.candidates(report)),
        _section(_tables.targets(report)),
        _folded(_tables.graph(report)),
        _section(_tables.ladder(report)),
        _section(_tables.verdicts(report)),
        _folded(_tables.steps(report)),
        _folded(_tables.environment(report)),
        _notes(report),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _tiles(report: Report) -> str:
    tiles = _summary.tiles(report)
    labels, values, details = zip(*((tile.label, f"**{tile.value}**", _literal(tile.detail)) for tile in tiles), strict=True)
    return "\n".join((_row(labels), _row((":--",) * len(tiles)), _row(values), _row(details)))


def _section(table: Table) -> str:
    return f"### {table.title}\n\n{_body(table)}"


def _folded(table: Table) -> str:
    """A table that few readers of a summary need."""
    return f"<details><summary>{table.title}</summary>\n\n{_body(table)}\n\n</details>"


def _body(table: Table) -> str:
    if not table.rows:
        return table.empty
    head = _row(tuple(_literal(column) for column in table.columns))
    rule = _row(tuple(RULES[letter] for letter in table.align))
    rows = (_row(tuple(_literal(cell) for cell in row)) for row in table.rows)
    lines = "\n".join((head, rule, *rows))
    return f"{lines}\n\n{table.note}" if table.note else lines


def _notes(report: Report) -> str:
    notes = "\n".join(f"- {_literal(note)}" for note in report.notes)
    return f"### Notes\n\n{notes or 'None.'}"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _literal(text: str) -> str:
    """Text that Markdown shows as it is: on one line, with no tag, link, emphasis or table border in it."""
    one_line = " ".join(text.split())
    escaped = re.sub(r"([\\`*\[\]|])", r"\\\1", one_line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
