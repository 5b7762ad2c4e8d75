"""SHA256SUMS against what lies in a bundle's folder: each file that is missing, changed or added, and how that probably came to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgedistill.bundle import transit
from edgedistill.cache import digest_file
from edgedistill.errors import IntegrityError
from edgedistill.files import GIT

SUMS = "SHA256SUMS"
AGAIN = "pull or build the bundle again"


def check(path: Path) -> tuple[dict[str, str], list[str]]:
    """The digests, by name, and what was added on the way that is no part of the bundle. Raises IntegrityError with every fault."""
    digests, listed = _digests(path), _listed(path)
    faults = {name: fault for name, digest in digests.items() if (fault := _fault(path, name, digest, listed.get(name, {})))}
    aside = [GIT] if faults.pop(GIT, None) else []  # it speaks to git alone, and many tools leave out what begins with a dot
    ways = []
    for name in faults:
        why = transit.cause(path / name, {**listed.get(name, {}), "sha256": digests[name]}) if (path / name).is_file() else None
        faults[name] += f"; {why.what}" if why else ""
        ways.append(why.undo if why else AGAIN)
    found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_symlink() or not file.is_dir()}
    for name in sorted(found - digests.keys() - {SUMS}):
        if litter := transit.litter(path, name):
            aside.append(litter)
        else:
            faults[name] = f"{path / name}: not in {SUMS}"
            ways.append(AGAIN)
    if faults:
        raise IntegrityError("\n".join(faults.values()), hint="\n      ".join(dict.fromkeys(ways)))
    return {name: digest for name, digest in digests.items() if name not in aside}, list(dict.fromkeys(aside))


def _listed(path: Path) -> Mapping[str, Any]:
    """The manifest's files, each with its digest and size; none where it cannot be read, which is a fault of its own."""
    try:
        files = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["files"]
        return {name: entry for name, entry in files.items() if isinstance(entry, dict)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _digests(path: Path) -> dict[str, str]:
    file = path / SUMS
    if not file.is_file():
        raise IntegrityError(f"{path} is not a bundle: it has no {SUMS}")
    digests = {}
    for number, line in enumerate(file.read_bytes().decode("utf-8", "replace").splitlines(), 1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not name:
            why = transit.cause(file, {})
            raise IntegrityError(f"{file}: line {number} is damaged" + (f"; {why.what}" if why else ""), hint=why.undo if why else "")
        check_inside(path, name)
        digests[name] = digest
    return digests


def check_inside(path: Path, name: str) -> None:
    """Raise IntegrityError for a name that leaves the folder, or a link."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name:
        raise IntegrityError(f"{path} names a file outside itself: {name}")
    places = [path / part for part in (relative, *relative.parents)]
    linked = [place for place in places if place != path and place.is_symlink()]
    if linked:
        raise IntegrityError(f"{linked[0]} is a link; a bundle holds plain files")


def _fault(path: Path, name: str, digest: str, packed: Mapping[str, Any]) -> str:
    file = path / name
    if not file.is_file():
        return f"{file}: missing"
    found = digest_file(file)
    if found == digest:
        return ""
    if name != "manifest.json" and found == packed.get("sha256"):
        return f"{path / SUMS}: the digest of {name} was changed here, {name} is what the manifest says"
    return f"{file}: its digest is not the one in {SUMS}"
