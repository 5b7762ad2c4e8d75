"""Finds the data of a folder: the file to learn from, and what lies beside it that holds out rows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgedistill import plugins
from edgedistill.data import Guess, columns, extension_of, extensions, guess, idx, images
from edgedistill.data.saved import is_saved
from edgedistill.errors import ConfigError, DataError, Fault, nearest
from edgedistill.wording import quoted

TEST_NAMES = ("test", "t10k")
VALIDATION_NAMES = ("validation", "valid", "validate", "dev", "val")
PLAIN = ".txt"  # one text a line: nothing to learn labels from, but for a file that has them at the lines' starts
CORPUS = 100  # lines; a shorter text beside nothing else is a note, not data
NO_DATA = ("license", "licence", "readme", "copying", "notice", "changelog", "requirements", "cmakelists")
MOST_NOTES = 6


@dataclass(frozen=True, slots=True)
class Findings:
    """What a recipe is written from: the guess, files that hold out rows, and what was passed over, with why."""

    guess: Guess
    test: Path | None = None
    validation: Path | None = None
    passed_over: tuple[str, ...] = ()


def look(place: Path, task: str | None = None) -> Findings:
    """Find the data in a folder (or take the file), and guess what its columns are.

    Raises ConfigError where there is none, or none that suits the task.
    """
    if not os.path.exists(place):
        raise ConfigError(f"{place}: no such file or folder", hint="edgedistill init FILE, or a folder that holds a data file")
    if task is not None and task not in plugins.names("tasks"):
        raise ConfigError(f"unknown task '{task}'", hint=nearest(task, plugins.names("tasks")))
    if not place.is_dir() or is_saved(place):
        return _with_companions(guess(place, task), [])
    candidates = _candidates(place)
    faults: list[Fault] = []
    notes: list[str] = []
    for index, path in enumerate(candidates):
        try:
            found = guess(path, task)
        except ConfigError as error:
            if extension_of(path) == PLAIN and not isinstance(error, DataError):
                continue  # a note or a list of names
            faults += error.faults
            notes.append(f"{quoted(path.name)}: passed over: {quoted(error.faults[0].what)}")
            continue
        if task is None and _is_plain(found) and (found.rows < CORPUS or faults):
            continue
        notes += [f"{quoted(other.name)}: not looked at" for other in candidates[index + 1 :] if _worth_a_note(other, path)]
        return _with_companions(found, notes)
    if images.recognises(place):
        return _with_companions(guess(_classes_of(place), task), notes)
    if faults:
        raise ConfigError(faults)
    known = ", ".join(sorted(set(extensions()) - {PLAIN}))
    hint = f"known: {known}, each also with .gz; a folder of images for each class"
    raise ConfigError(f"{place}: no data file with labels in this folder", hint=hint)


def _is_plain(found: Guess) -> bool:
    return found.label is None and found.image is None


def _worth_a_note(path: Path, chosen: Path) -> bool:
    return not _rank(path) and (extension_of(path) != PLAIN or extension_of(chosen) == PLAIN)


def _candidates(folder: Path) -> list[Path]:
    """Data files: training files first, then the larger; bare text behind what has columns, files of a held-out split last."""
    try:
        files = [path for path in folder.iterdir() if _is_data(path) and not path.name.lower().startswith(NO_DATA)]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error}") from error
    return sorted(
        files, key=lambda path: (_rank(path), extension_of(path) == PLAIN, "train" not in path.name.lower(), -path.stat().st_size, path.name)
    )


def _is_data(path: Path) -> bool:
    return path.is_file() and (extension_of(path) in extensions() or bool(idx.NAME.fullmatch(path.name)))


def _classes_of(folder: Path) -> Path:
    """The folder that holds the classes' folders: this one, or the training split's in it."""
    inner = sorted(one for one in folder.iterdir() if one.is_dir() and images.recognises(one))
    if not inner:
        return folder
    training = [one for one in inner if "train" in one.name.lower()]
    if not training:
        what = f"{folder}: no folder of these is called train: {', '.join(one.name for one in inner)}"
        raise ConfigError(what, hint=f"edgedistill init {inner[0]}")
    return training[0]


def _stem(path: Path) -> str:
    name = path.name.lower()
    return name if path.is_dir() else name.removesuffix(".gz").removesuffix(extension_of(path))


def _held(path: Path) -> str:
    """The word in a file's name that says it is a held-out split, if there is one."""
    words = _stem(path).replace("-", ".").replace("_", ".").split(".")
    return next((word for word in words if word in (*TEST_NAMES, *VALIDATION_NAMES)), "")


def _rank(path: Path) -> int:
    """0 for data to learn from, 1 for a validation split, 2 for a test split."""
    word = _held(path)
    return 2 if word in TEST_NAMES else 1 if word else 0


def _with_companions(found: Guess, notes: list[str]) -> Findings:
    test = _companion(found, TEST_NAMES, notes)
    validation = _companion(found, VALIDATION_NAMES, notes)
    more = [f"{len(notes) - MOST_NOTES:,} more files: not told"] if len(notes) > MOST_NOTES + 1 else notes[MOST_NOTES:]
    return Findings(found, test, validation, (*notes[:MOST_NOTES], *more))


def _companion(found: Guess, names: tuple[str, ...], notes: list[str]) -> Path | None:
    """What lies beside the data and holds out rows: `train` in its name exchanged for one of these, or just so named."""
    stem, held = _stem(found.path), _held(found.path)
    word = "train" if "train" in stem else held
    beside = sorted(path for path in found.path.absolute().parent.iterdir() if path.name != found.path.name and _is_alike(path, found.path))
    wanted = [stem.replace(word, name) if word else name for name in names if name != held]
    for path in (found.path.parent / path.name for name in wanted for path in beside if _stem(path) == name):
        try:
            lacking = set(found.roles.values()) - set(columns(path, names=found.columns))
        except ConfigError as error:
            notes.append(f"{quoted(path.name)}: cannot be read: {quoted(error.faults[0].what)}")
            continue
        if not lacking:
            return path
        notes.append(f"{quoted(path.name)}: has no column {', '.join(map(quoted, sorted(lacking)))}")
    return None


def _is_alike(path: Path, data: Path) -> bool:
    """Whether this may be a companion by its kind: a folder of images of one, bare text of bare text, a table of a table."""
    if data.is_dir():
        return not is_saved(data) and path.is_dir() and images.recognises(path)
    return _is_data(path) and (extension_of(path) == PLAIN) == (extension_of(data) == PLAIN)
