"""eval, predict, report, verify: what is done with a bundle. None of it needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from edgedistill import plugins
from edgedistill.bundle import archive, reader
from edgedistill.bundle.damage import noticed
from edgedistill.characters import escaped
from edgedistill.checking import read_json
from edgedistill.errors import ConfigError, Fault
from edgedistill.faces import print_json
from edgedistill.faces.bench import folder
from edgedistill.files import write_text, writing
from edgedistill.progress import Progress, drawn
from edgedistill.spec import Data


def evaluate(path: Path, spec: Data, store: Path, *, as_json: bool) -> None:
    """Print the bundle's score on a file."""
    from edgedistill.bundle.use import evaluate as score

    bundle = _open(path)
    with drawn() as tell:
        progress = Progress(tell, "eval")
        document = score(bundle, spec, store, lambda done, total: progress.advance(done, total, "rows"), progress.warn)
    if as_json:
        print_json(document)
        return
    beside = f", the teacher's {document['teacher']:.4f}" if document["teacher"] is not None else ""
    print(f"{document['metric']} {document['score']:.4f} on {document['n']} rows{beside}")


def predict(path: Path, asked: Sequence[str], *, as_json: bool) -> None:
    """Print an answer for each thing that was asked: one line of fields with tabs between, each escaped, or one JSON document."""
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
        print("\t".join([*told, escaped(one["text"])]))


def _told(value: Any) -> str:
    """A part of an answer on one line; candidates as `paris 0.8123, london 0.0312`, with a bar between one place and the next."""
    if isinstance(value, list) and value and all(isinstance(one, list) for one in value):
        return " | ".join(", ".join(" ".join(map(_told, candidate.values())) for candidate in one) for one in value)
    if isinstance(value, float):
        return f"{value:.4f}"
    return escaped(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def lines(stream: BinaryIO) -> list[str]:
    """The lines of standard input. Raises DataError naming the lines whose bytes are not UTF-8."""
    from edgedistill.data import lines_of

    return lines_of(stream, "standard input", "edgedistill predict BUNDLE")


def report(result: Path, form: str, out: Path | None) -> None:
    """Render a report of a bundle's folder or of a bench document."""
    document, bundle = None, result
    archive.refuse_packed(result)
    if result.is_file():
        document = _read_bench(result)
        bundle = Path(document["bundle"])
        if not bundle.is_dir():
            raise ConfigError(
                f"{result} was taken of {bundle}, which is no longer there", hint="edgedistill report BUNDLE renders a bundle by itself"
            )
    opened = _open(bundle)
    with noticed(bundle):
        reader.check_model(opened)  # what a report says is of the files that were packed
    text = _render(opened, document, form)
    if out is None:
        print(text)
    else:
        folder(out.parent)
        with writing(f"--out {out}"):
            write_text(out, text)
        print(out)


def verify(path: Path, *, as_json: bool) -> None:
    """Print what holds; what does not is raised."""
    with noticed(path):
        sentences = reader.verify(_existing(path))
    if as_json:
        print_json({"schema": "edgedistill.verify/1", "bundle": str(path), "ok": True, "checks": sentences})
        return
    for sentence in sentences:
        print(f"ok: {sentence}")


def _existing(path: Path) -> Path:
    archive.refuse_packed(path)
    if not path.is_dir():
        raise ConfigError(f"there is no bundle folder {path}", hint="edgedistill build prints where it put the bundle")
    return path


def _open(path: Path) -> reader.Bundle:
    return reader.open_bundle(_existing(path))


def _read_bench(file: Path) -> dict[str, Any]:
    """The document. Raises ConfigError with all that keeps it from being reported on."""
    from edgedistill.measure.document import faults
    from edgedistill.measure.run import READ, SCHEMA

    try:
        document: dict[str, Any] = read_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file} is not JSON: {error}") from error
    wrong, writes = f"{file} is not an {SCHEMA} document", "edgedistill bench BUNDLE --out DIR writes one"
    if not isinstance(document, dict) or document.get("schema") not in READ:
        raise ConfigError(wrong, hint=writes)
    if "model" in document:
        what = f"{file} is of {document['model']}, which is no bundle: there is no report on it"
        raise ConfigError(what, hint=f"its table is in {file.with_name('bench.txt')}")
    if found := faults(document):
        *first, last = found
        raise ConfigError([*(Fault("", f"{wrong}: {one}") for one in first), Fault("", f"{wrong}: {last}", writes)])
    return document


def _render(bundle: reader.Bundle, document: Mapping[str, Any] | None, form: str) -> str:
    from edgedistill.measure.report import make_report

    writer = plugins.load("formats", form)
    with noticed(bundle.path):
        text: str = writer.render(make_report(bundle, document))
    return text
