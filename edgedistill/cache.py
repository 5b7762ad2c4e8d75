"""The store: every folder is remembered by what was asked for, filled beside its place, and renamed in when it is whole.

STORE/<stage>/<key>/receipt.json    what was asked, what was found, the digest of every file
STORE/<stage>/<key>/files/          what the stage made
STORE/unfinished/<stage>/<key>/           a fill in progress; a killed one goes on from what it left here
STORE/locks/<key>.lock              held by the operating system while a fill runs, and freed by it when the process dies
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedistill.errors import IntegrityError, StageError, WriteError
from edgedistill.files import FORBIDDEN, PART, ROOM, unwritten, write_text
from edgedistill.memory import forget_peak, peak_bytes
from edgedistill.spec import Artifact, Step

if TYPE_CHECKING:
    from filelock import BaseFileLock

RECEIPT_SCHEMA = "edgedistill.receipt/1"  # 1: first
RESUME = "resume"  # the folder inside a fill where a stage keeps what it needs to go on; removed before the rename


def canonical(asked: Mapping[str, Any]) -> str:
    """JSON with one spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(asked: Mapping[str, Any]) -> str:
    """The full sha256 of what was asked."""
    return sha256(canonical(asked).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path) -> dict[str, dict[str, str | int]]:
    """Digest and size of every file below a folder, by relative path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): {"sha256": digest_file(file), "bytes": file.stat().st_size} for file in files}


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file whole: beside its place first, then renamed in."""
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class Store:
    """A folder of artifacts. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, step: Step) -> Path:
        """Where a step's artifact is, or will be."""
        return self.root / step.stage / step.key

    def find(self, step: Step) -> Artifact | None:
        """The artifact of a step, if it was made before. What exists is whole."""
        receipt = self.place(step) / "receipt.json"
        return _artifact(receipt) if receipt.is_file() else None

    def fill(self, step: Step, run: Callable[[Path], Mapping[str, Any]]) -> Artifact:
        """The artifact of a step: the one that is there, or the one that `run` makes.

        `run` gets the folder to fill and returns the facts for the receipt. It may find in the folder what a killed run left there.
        Raises what `run` raises, and WriteError where the disk takes no more; the unfinished folder stays for the next try.
        """
        lock = self._lock(step.key)
        try:
            lock.acquire()
        except OSError as error:
            raise self._forbidden(error) from error
        try:
            found = self.find(step)
            return found if found is not None else self._make(step, run)
        except Exception as error:  # each library says in its own way that a disk is full
            if why := unwritten(error):
                raise WriteError(f"the step '{step.stage}' stopped, {self.root} cannot be written: {why}", hint=ROOM) from error
            if isinstance(error, OSError) and error.errno in FORBIDDEN and str(error.filename).startswith(str(self.root)):
                raise self._forbidden(error) from error
            raise
        finally:
            lock.release()

    def _forbidden(self, error: OSError) -> StageError:
        return StageError(f"cannot write to the store {self.root}: {error.strerror or error}", hint="name another one with --store DIR")

    def _make(self, step: Step, run: Callable[[Path], Mapping[str, Any]]) -> Artifact:
        work = self.root / "unfinished" / step.stage / step.key
        files = work / "files"
        files.mkdir(parents=True, exist_ok=True)
        for beside in list(files.rglob(f"*{PART}")):  # what a killed run was writing: files, and the folder of a checkpoint
            shutil.rmtree(beside) if beside.is_dir() else beside.unlink(missing_ok=True)
        started, busy = time.monotonic(), time.process_time()
        forget_peak()
        facts = run(files)
        shutil.rmtree(files / RESUME, ignore_errors=True)
        receipt = {
            "schema": RECEIPT_SCHEMA,
            "stage": step.stage,
            "key": step.key,
            "asked": step.asked,
            "facts": facts,
            "files": digest_folder(files),
            "seconds": round(time.monotonic() - started, 3),
            "cpu_seconds": round(time.process_time() - busy, 3),
            "peak_bytes": peak_bytes(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(work / "receipt.json", receipt)
        place = self.place(step)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)  # there without its receipt, or it would have been found: nobody can say what it is
        work.rename(place)
        return replace(_artifact(place / "receipt.json"), cached=False)

    def _lock(self, key: str, timeout_s: float = -1) -> BaseFileLock:
        from filelock import FileLock

        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._forbidden(error) from error
        return FileLock(folder / f"{key}.lock", timeout=timeout_s)

    def entries(self) -> Iterator[Artifact]:
        """Every whole artifact, oldest first."""
        receipts = sorted(self.root.glob("*/*/receipt.json"), key=lambda file: file.stat().st_mtime)
        yield from (_artifact(file) for file in receipts)

    def verify(self) -> list[str]:
        """What is wrong with the store: every file that is missing, changed or not in its receipt, and folders without one."""
        bare = [
            folder
            for folder in self.root.glob("*/*/files")
            if folder.parent.parent.name != "unfinished" and not (folder.parent / "receipt.json").is_file()
        ]
        return [f"{folder.parent}: has no receipt" for folder in bare] + [fault for artifact in self.entries() for fault in changed_files(artifact)]

    def collect(self, keep: set[str]) -> tuple[int, int]:
        """Remove what is not in `keep`, unfinished work included, but nothing that a running build holds. Returns how many and their bytes."""
        folders = [artifact.path.parent for artifact in self.entries()] + list(self.root.glob("unfinished/*/*"))
        gone = [self._remove(folder) for folder in folders if folder.name not in keep]
        sizes = [size for size in gone if size is not None]
        return len(sizes), sum(sizes)

    def _remove(self, folder: Path) -> int | None:
        from filelock import Timeout

        try:
            with self._lock(folder.name, timeout_s=0):
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                shutil.rmtree(folder)
                return size
        except Timeout:
            return None


def changed_files(artifact: Artifact) -> list[str]:
    """The files of an artifact that are not what its receipt says, each with what is wrong."""
    asked: dict[str, dict[str, str | int]] = artifact.receipt["files"]
    found = digest_folder(artifact.path)
    faults = [f"{artifact.path / name}: missing" for name in asked.keys() - found.keys()]
    faults += [f"{artifact.path / name}: not in the receipt" for name in found.keys() - asked.keys()]
    faults += [f"{artifact.path / name}: changed" for name in asked.keys() & found.keys() if asked[name]["sha256"] != found[name]["sha256"]]
    return sorted(faults)


def _artifact(receipt_file: Path) -> Artifact:
    folder = receipt_file.parent
    try:
        receipt = json.loads(receipt_file.read_text(encoding="utf-8"))
        whole = isinstance(receipt["facts"], dict) and isinstance(receipt["files"], dict)
        if not whole or (receipt["stage"], receipt["key"]) != (folder.parent.name, folder.name):
            raise ValueError("it is not the receipt of this folder")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{receipt_file} is damaged: {error}", hint=f"remove {folder} and run again") from error
    return Artifact(stage=receipt["stage"], key=receipt["key"], path=folder / "files", receipt=receipt, cached=True)
