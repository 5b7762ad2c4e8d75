"""bench: a bundle, or any ONNX file, on one or several devices. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedistill import devices, plugins, providers, samples
from edgedistill.bundle import archive, reader
from edgedistill.cache import write_json
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.faces import print_json
from edgedistill.files import refused, unwritten, write_text, writing
from edgedistill.measure import run, table
from edgedistill.measure.modes import MODES
from edgedistill.measure.report import make_report, shares
from edgedistill.progress import Progress, drawn
from edgedistill.wording import megabytes

DOCUMENT = "bench.json"


def bench(what: Path, plan: run.Plan, rows: int, out: Path | None, store: Path, *, as_json: bool) -> None:
    """Measure and print a table; with `out`, also write the document and the report. What fails on one device is raised when all are done.

    The document is written after every device: ended early, it holds those that were done.
    """
    _check(plan)
    archive.refuse_packed(what)
    bundle = None if what.is_file() else _bundle(what)
    if out is not None:
        folder(out)  # before the minutes of measuring

    def keep(document: Mapping[str, Any]) -> None:
        if out is not None:
            with writing(f"--out {out}"):
                _keep(document, out)

    with drawn() as tell:
        progress = Progress(tell, "bench")
        whole = run.measure_file(what, plan, progress, keep) if bundle is None else run.measure(bundle, store, plan, progress, keep, rows=rows)
    if out is not None:
        with writing(f"--out {out}"):
            _write(bundle, whole, out)
    if as_json:
        print_json(samples.packed(whole))
    else:
        print(text(whole))
    if failed := run.failure(whole):
        raise failed


def text(document: Mapping[str, Any]) -> str:
    """The document in columns; those that no row has are left out."""
    found = table.rows(document)
    shown = [(title, cell) for title, name, cell in _columns(document) if any(row.get(name) is not None for row in found)]
    lines = [("device", "model", *(title for title, _ in shown), "status"), *(_line(row, shown) for row in found)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    return "\n".join(_aligned(line, widths) for line in lines) + "\n" + _note(document, found)


def _line(row: Mapping[str, Any], shown: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    return (row["device"], row["subject"], *(cell(row) for _, cell in shown), row["status"])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    left = [line[0].ljust(widths[0]), line[1].ljust(widths[1])]
    return "  ".join([*left, *(cell.rjust(width) for cell, width in zip(line[2:-1], widths[2:-1], strict=True)), line[-1]]).rstrip()


def _columns(document: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Title, key and how a cell is written."""

    def number(key: str, digits: int, scale: float = 1.0) -> Any:
        return lambda row: f"{row[key] * scale:.{digits}f}" if row.get(key) is not None else "–"

    baseline, metric = document["baseline"], document["metric"] or "score"
    several = {name for name in ("threads", "batch") if len({entry.get(name) for entry in document["devices"]}) > 1}
    return [
        *((name, name, number(name, 0)) for name in ("threads", "batch") if name in several),
        ("size", "bytes", lambda row: megabytes(row["bytes"]) if row.get("bytes") is not None else "–"),
        (metric, "score", number("score", 4)),
        ("agrees", "agreement", number("agreement", 4)),
        (f"{metric} there", "score_there", number("score_there", 4)),
        ("agrees with here", "agreement_with_here", number("agreement_with_here", 4)),
        ("median ms", "latency_ms", number("latency_ms", 3)),
        (f"÷ {baseline}", "latency_ratio", number("latency_ratio", 3)),
        ("load ms", "load_ms", number("load_ms", 1)),
        ("first ms", "first_ms", number("first_ms", 1)),
        ("peak MiB", "peak_mib", number("peak_mib", 1)),
        ("M instructions", "instructions", number("instructions", 1, 1e-6)),
        (f"instr. ÷ {baseline}", "instruction_ratio", number("instruction_ratio", 3)),
    ]


def _note(document: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> str:
    answered = sorted({f"{row['rows']} {'golden examples' if row['score_there'] is None else 'test rows'}" for row in found if row.get("rows")})
    parts = [document["inputs"]]
    parts += [f"“there” is on {' and '.join(answered)}, answered on the device"] if answered else []
    parts += ["instructions are emulated: a count is not a time"] if any(row.get("instructions") for row in found) else []
    parts += [
        f"{entry['device']}: the {name} ran {shares(placed)}"
        for entry in document["devices"]
        for name, placed in entry.get("placement", {}).items()
        if entry["provider"] != providers.CPU.name
    ]
    weak = [f"{' '.join((row['device'], row['subject'])).strip()}: {_first(row['detail'])}" for row in found if row["detail"]]
    return "\n".join(["; ".join(parts), *weak])


def _first(reasons: str) -> str:
    """The gravest reason; the report has all."""
    first, _, more = reasons.partition("; ")
    return f"{first} (and more: --out writes a report)" if more else first


def _check(plan: run.Plan) -> None:
    """Everything that is wrong with the request, before anything is measured."""
    if plan.provider:
        providers.find(plan.provider)
    faults = [Fault(f"--device {one}", *said) for one in plan.addresses if (said := _unreadable(one))]
    if plan.mode not in MODES:
        faults.append(Fault(f"--mode {plan.mode}", "unknown mode", nearest(plan.mode, MODES)))
    if plan.shapes and max(plan.batches) > 1:
        faults.append(Fault("--batch", "a stated shape has its batch in it", "leave out one of --batch and --shape"))
    if faults:
        raise ConfigError(faults)


def _unreadable(address: str) -> tuple[str, str] | None:
    """What is wrong with an address, and what could be meant."""
    try:
        devices.check(address)
    except ConfigError as error:
        return error.faults[0].what, error.hint
    return None


def _bundle(path: Path) -> reader.Bundle:
    if not path.is_dir():
        hint = "edgedistill build prints where it put the bundle"
        raise ConfigError(f"{path} is neither a bundle's folder nor a file", hint=hint)
    return reader.open_bundle(path)


def _write(bundle: reader.Bundle | None, document: Mapping[str, Any], out: Path) -> None:
    """The document and the report; its page needs packages that the base install leaves out, and is left out with them."""
    _keep(document, out)
    if bundle is None:
        write_text(out / "bench.txt", text(document) + "\n")
        return
    whole = make_report(bundle, document)
    for form in ("md", "html"):
        try:
            write_text(out / f"report.{form}", plugins.load("formats", form).render(whole))
        except ConfigError as error:
            print(f"warning: {out / f'report.{form}'} is not written: {error}", file=sys.stderr)


def _keep(document: Mapping[str, Any], out: Path) -> None:
    """The document, and every sample of it."""
    write_json(out / DOCUMENT, samples.packed(document))
    samples.keep(document, out)


def folder(place: Path) -> None:
    """Make the folder of `--out`. Raises ConfigError where that cannot be."""
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if unwritten(error):
            raise refused(f"--out {place}", error) from error
        raise ConfigError(f"--out {place}: cannot be made a folder: {error.strerror}") from error
