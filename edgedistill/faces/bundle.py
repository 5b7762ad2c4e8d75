"""eval, predict, bench, report, verify: what is done with a bundle. None of it needs torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from edgedistill import plugins, providers
from edgedistill.bundle import reader
from edgedistill.cache import write_json
from edgedistill.errors import ConfigError, DataError, DeviceError, nearest
from edgedistill.faces import print_json
from edgedistill.progress import Progress, drawn
from edgedistill.spec import Data


def evaluate(path: Path, spec: Data, store: Path, *, as_json: bool) -> None:
    """Print the bundle's score on a file."""
    from edgedistill.bundle.use import evaluate as score

    bundle = _open(path)
    with drawn() as tell:
        progress = Progress(tell, "eval")
        document = score(bundle, spec, store, lambda done, total: progress.advance(done, total, "rows"))
    if as_json:
        print_json(document)
        return
    beside = f", the teacher's {document['teacher']:.4f}" if document["teacher"] is not None else ""
    print(f"{document['metric']} {document['score']:.4f} on {document['n']} rows{beside}")


def predict(path: Path, asked: Sequence[str], *, as_json: bool) -> None:
    """Print an answer for each thing that was asked."""
    from edgedistill.bundle.use import PREDICT_SCHEMA
    from edgedistill.bundle.use import predict as answer

    bundle = _open(path)
    if not asked:
        raise ConfigError("nothing to predict", hint=f"edgedistill predict BUNDLE {bundle.task.SHOWN}, or one a line on standard input")
    answers = answer(bundle, asked)
    if as_json:
        print_json({"schema": PREDICT_SCHEMA, "answers": answers})
        return
    for one in answers:
        told = [_told(value) for name, value in one.items() if name not in ("text", "all")]
        print("\t".join([*told, one["text"]]))


def _told(value: Any) -> str:
    """A part of an answer on one line."""
    if isinstance(value, float):
        return f"{value:.4f}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def lines(stream: BinaryIO) -> list[str]:
    """The lines of standard input. Raises DataError naming the line whose bytes are not UTF-8."""
    found = []
    for number, line in enumerate(stream, 1):
        try:
            found.append(line.decode("utf-8").rstrip("\r\n"))
        except UnicodeDecodeError as error:
            raise DataError(f"standard input line {number}: not UTF-8 at byte {error.start}", hint="iconv -f latin1 -t utf-8") from error
    return found


def bench(
    path: Path,
    device: str,
    mode: str,
    threads: int | None,
    out: Path | None,
    store: Path,
    *,
    provider: str,
    strict: bool,
    as_json: bool,
) -> None:
    """Measure and print a table; with `out`, also write the document and the report. An emulated device has counts and no time."""
    asked = providers.find(provider)
    if device.partition(":")[0] == "qemu":
        if asked is not providers.CPU:
            raise DeviceError(f"the emulated {device} has no {asked.name}", hint=f"it has: {providers.CPU.name}")
        _emulate(path, device, out, as_json=as_json)
        return
    from edgedistill.measure.run import MODES, measure

    if mode not in MODES:
        raise ConfigError(f"unknown mode '{mode}'", hint=nearest(mode, MODES))
    bundle = _open(path)
    if out is not None:
        _folder(out)  # before the minutes of measuring
    with drawn() as tell:
        document = measure(
            bundle, store, device=device, mode=mode, threads=threads, progress=Progress(tell, "bench"), provider=provider, strict=strict
        )
    if out is not None:
        write_json(out / "bench.json", document)
        (out / "report.md").write_text(_render(bundle, document, "md"), encoding="utf-8")
        (out / "report.html").write_text(_render(bundle, document, "html"), encoding="utf-8")
    if as_json:
        print_json(document)
    else:
        _print_table(bundle, document)


def _emulate(path: Path, device: str, out: Path | None, *, as_json: bool) -> None:
    from edgedistill.measure.emulate import show

    if out is not None:
        raise ConfigError(f"--out {out}: there is no report of an emulated device", hint="print its document with --json")
    show(_existing(path), [device], as_json=as_json)


def report(result: Path, form: str, out: Path | None) -> None:
    """Render a report of a bundle's folder or of a bench document."""
    document, bundle = None, result
    if result.is_file():
        document = _read_bench(result)
        bundle = Path(document["bundle"])
        if not bundle.is_dir():
            raise ConfigError(
                f"{result} was taken of {bundle}, which is no longer there", hint="edgedistill report BUNDLE renders a bundle by itself"
            )
    text = _render(_open(bundle), document, form)
    if out is None:
        print(text)
    else:
        _folder(out.parent)
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from error
        print(out)


def verify(path: Path, *, as_json: bool) -> None:
    """Print what holds; what does not is raised."""
    sentences = reader.verify(_existing(path))
    if as_json:
        print_json({"schema": "edgedistill.verify/1", "bundle": str(path), "ok": True, "checks": sentences})
        return
    for sentence in sentences:
        print(f"ok: {sentence}")


def _folder(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {place}: cannot be made a folder: {error.strerror}") from error


def _existing(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(f"there is no bundle folder {path}", hint="edgedistill build prints where it put the bundle")
    return path


def _open(path: Path) -> reader.Bundle:
    return reader.open_bundle(_existing(path))


def _read_bench(file: Path) -> dict[str, Any]:
    from edgedistill.measure.run import SCHEMA

    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON: {error}") from error
    whole = isinstance(document, dict) and document.get("schema") == SCHEMA and document.keys() >= BENCH_KEYS
    if not whole:
        raise ConfigError(f"{file} is not an {SCHEMA} document", hint="edgedistill bench BUNDLE --out DIR writes one")
    return document


def _render(bundle: reader.Bundle, document: Mapping[str, Any] | None, form: str) -> str:
    from edgedistill.measure.report import make_report

    text: str = plugins.load("formats", form).render(make_report(bundle, document))
    return text


def _print_table(bundle: reader.Bundle, document: Mapping[str, Any]) -> None:
    from edgedistill.measure.report import shares

    manifest, baseline = bundle.manifest, bundle.baseline
    print(
        f"{'':10}{'MB':>8}{manifest['metric']:>10}{'agrees':>9}{'median ms':>11}{f'÷ {baseline}':>11}{'load ms':>9}{'first ms':>10}{'peak MiB':>10}"
    )
    values = {(one["subject"], one["metric"]): statistics.median(one["samples"]) for one in document["measurements"]}
    for name in dict.fromkeys(one["subject"] for one in document["measurements"]):
        ratio = document["ratios"].get(name)
        share = f"{ratio['median_ratio']:.3f}" if ratio else "1" if name == baseline else "n/a"
        row = f"{name:10}{manifest['bytes'][name] / 1e6:8.2f}{manifest['scores'][name]:10.4f}{manifest['agreement'][name]:9.4f}"
        print(
            row
            + f"{values[name, 'latency_ms']:11.3f}{share:>11}"
            + "".join(f"{values[name, metric]:{width}.1f}" for metric, width in COLUMNS.items())
        )
    if document["provider"] != providers.CPU.name:
        for name, placement in document["placement"].items():
            print(f"{name:10}{shares(placement)}")


BENCH_KEYS = {"bundle", "environment", "measurements", "ratios", "absent", "threads"}
COLUMNS = {"load_ms": 9, "first_ms": 10, "peak_mib": 10}
