"""Bundles that are damaged or forged, the same ones for the same number."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from bad_recipes import spoilt

WILD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    2**63,
    10**40,
    "",
    " ",
    "é",
    "\0",
    "a" * 5000,
    "../x",
    "/dev/null",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
]
WILD += [float("nan"), float("inf"), ["a", 1], {"": {}}, [[1, 2], [3]], "nan", "1"]


def _damaged(document: Any, draw: random.Random) -> Any:
    """One value of a JSON document replaced, or gone, at any depth."""
    if isinstance(document, dict) and document and draw.random() < 0.85:
        key = draw.choice(sorted(document))
        if draw.random() < 0.15:
            return {name: value for name, value in document.items() if name != key}
        return document | {key: _damaged(document[key], draw)}
    if isinstance(document, list) and document and draw.random() < 0.8:
        at = draw.randrange(len(document))
        return [*document[:at], *([] if draw.random() < 0.15 else [_damaged(document[at], draw)]), *document[at + 1 :]]
    return draw.choice(WILD)


def _summed(folder: Path, everything: bool) -> None:
    """Digests that fit what is there, in the manifest too where `everything`."""
    digests = {file.name: sha256(file.read_bytes()).hexdigest() for file in folder.iterdir() if file.is_file() and file.name != "SHA256SUMS"}
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name, entry in manifest["files"].items():
            entry["sha256"] = digests.get(name, entry["sha256"])
        if everything:
            (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
            digests["manifest.json"] = sha256((folder / "manifest.json").read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # a manifest that is damaged itself
    if not (folder / "SHA256SUMS").is_file():
        return
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())), encoding="utf-8")


def bundle(draw: random.Random, folder: Path, sound: Path) -> list[str]:
    """The words of a command whose bundle is damaged."""
    place = Path(shutil.copytree(sound, folder / "bundle"))
    file = place / draw.choice([one.name for one in sorted(place.iterdir())] + ["manifest.json"] * 6 + ["golden.json"] * 3)
    way = draw.random()
    if file.suffix == ".json" and way < 0.75:
        document = json.loads(file.read_text(encoding="utf-8"))
        for _ in range(draw.choice([1, 1, 3])):
            document = _damaged(document, draw)
        file.write_text(json.dumps(document), encoding="utf-8")
    elif way < 0.85:
        file.write_bytes(spoilt(file.read_bytes(), draw))
    else:
        file.unlink()
        ways: list[Callable[[], object]] = [lambda: None, file.mkdir, lambda: file.symlink_to("/dev/null"), lambda: file.symlink_to(file.name)]
        draw.choice(ways)()
    if draw.random() < 0.6:
        _summed(place, everything=draw.random() < 0.8)
    (folder / "rows.csv").write_text("review,verdict\na lovely day,positive\na gloomy film,negative\n", encoding="utf-8")
    evaluated = ["eval", "bundle", "--data", "rows.csv", "--text", "review", "--label", "verdict"]
    return draw.choice(
        [
            ["verify", "bundle"],
            ["verify", "bundle"],
            ["predict", "bundle", "a lovely day"],
            evaluated,
            *(["report", "bundle", "--format", one] for one in ("md", "json")),
        ]
    )
