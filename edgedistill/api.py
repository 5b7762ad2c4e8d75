"""The Python face: `ed.build("default", target="android-arm64")`, `ed.bench(bundle)`. Imports nothing heavy until it is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgedistill.bundle.reader import Bundle

STORE = Path(".edgedistill")


def build(recipe: str | None = None, *, target: str, settings: Sequence[str] = (), store: Path = STORE) -> Bundle:
    """Build one target's bundle and open it; what is in the store is not made again.

    Raises ConfigError, StageError or GateError (the bundle is kept) as `edgedistill build` does.
    """
    from edgedistill import config, pipeline, profiles
    from edgedistill.bundle.reader import open_bundle
    from edgedistill.cache import Store
    from edgedistill.progress import Progress, drawn

    loaded, base = config.load_recipe(recipe, settings)
    profile = profiles.load_target(target)
    with drawn() as tell:
        if warning := profiles.warning(profile):
            Progress(tell, "build").warn(warning)
        done = pipeline.build(loaded, [profile], base, Store(store), tell)
    pipeline.hold_gates(done)
    return next(open_bundle(one.bundle) for one in done if isinstance(one, pipeline.Done))


def load_bundle(path: str | Path) -> Bundle:
    """Open a bundle that was built or pulled. Raises IntegrityError when it is not one."""
    from edgedistill.bundle.reader import open_bundle

    return open_bundle(Path(path))


def bench(
    bundle: Bundle,
    *,
    device: str | Sequence[str] = "local",
    mode: str = "quick",
    threads: int | None = None,
    provider: str = "",
    strict: bool = False,
    store: Path = STORE,
) -> dict[str, Any]:
    """Measure a bundle beside its teacher on one or several devices: one `edgedistill.bench/2` document, with every sample.

    `strict` fails where another provider ran a node. Raises IntegrityError where answers are wrong, StageError where a process crashes,
    DeviceError where a device or its provider is not there.
    """
    from edgedistill.measure.run import Plan, failure, measure
    from edgedistill.progress import Progress, drawn

    addresses = [device] if isinstance(device, str) else device
    with drawn() as tell:
        plan = Plan(addresses=addresses, mode=mode, threads=[threads], provider=provider, strict=strict)
        document = measure(bundle, store, plan, Progress(tell, "bench"))
    if failed := failure(document):
        raise failed
    return document
