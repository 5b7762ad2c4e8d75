"""The pipeline's steps: one file each, folders in, a folder out.

Every stage has `VERSION` (raised when its output changes for the same input), `TOOLS` (packages whose versions matter to it), a frozen
`Params`, `requires(params, places)` (what is wrong, before anything runs), `run(params, inputs, out, progress)` which returns the facts
for the receipt, and `ensures(out)` which raises StageError when the folder is not what the stage promises. No stage calls another.
"""

from __future__ import annotations

from pathlib import Path

from edgedistill.errors import StageError


def needs_files(out: Path, *names: str) -> None:
    """The commonest promise: these files are there and not empty."""
    missing = [name for name in names if not (out / name).is_file() or not (out / name).stat().st_size]
    if missing:
        raise StageError(f"the step left no {', '.join(missing)} in {out}")
