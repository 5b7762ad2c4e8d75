"""Devices: one file, one way to a machine that runs models, and the one face that all of them have.

    with closing(devices.connect("ssh:pi@kitchen")) as device:
        ended = device.run(job, deadline_s=120)

An address is a way's name and what that way needs: `local`, `qemu:cortex-a53`, `ssh:HOST`, `adb:SERIAL`, `node`, `browser:wasm`.
A job is a JSON document, the same for every agent (`measure/agent.py`, `measure/runner.c`, …):

    model         the ONNX file on this machine; the device carries it over
    feeds         a list of rows, each {input: {"dtype": …, "values": nested list or array}}
    timed         rows that are timed in place of the feeds: a batch, a stated shape; the feeds are still checked
    provider, options, threads      how the session is opened; options are the provider's own
    session       {entry: value} of the session's configuration; may be absent
    plugins       modules on the device that may bring the provider as a plugin; may be absent
    trace, strict   true: which provider ran what comes back as `placement`, from a session of its own after the timing; strict: so that whoever
                  asked can refuse a result that fell back
    min_runs, min_s                 at least so many samples and so many seconds; both 0: no timing
    max_s         no pass over the rows but the first begins after so many seconds of warm-up, nor of samples; absent: no limit
    picks, golden, tolerance        what the first output of every feed should be, and where (`agent.picked`); absent: nothing is checked
    tensors, outputs, scales, tolerance     the same for every output of a foreign model
    answers       true: the first output of every feed comes back
    look          instead of all these, {provider: [plugins]}: which providers are here (only the Python agent knows it)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from edgedistill import plugins


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a job came to: the agent's result with its `status`, and the answer to every feed where the job asked for them.

    `status` is ok; wrong (the golden answers are not met, so no time counts); fell_back (as ok, but another provider ran some of it: `detail`
    says what); no_provider (the one that was asked for is not here, or refuses the model), crashed or timeout with a `detail`. Keys of a result
    that has answers: worst_difference, import_ms, load_ms, first_ms, warmups_ms, samples_ms, resident_mib (at the start of the samples and after
    each quarter of them), before and after (what can be read of the machine's state right before the samples and after them; a reading that is
    not there is absent), probe_before_ms and probe_after_ms (the same arithmetic again and again), baseline_mib, peak_mib, onnxruntime, providers,
    and placement where it was asked for: {provider: {nodes, time_share, ops: {op: count}}}, with graph_ops where ONNX Runtime tells what is
    inside of parts that it compiled. Where nothing is timed, what belongs to the samples is empty.
    """

    result: dict[str, Any]
    answers: list[NDArray[Any]] = field(default_factory=list)


class Device(Protocol):
    """A machine that runs jobs, each in a fresh process (a browser: a fresh page), one at a time: a second run waits for the first.

    A device whose own provider is not the CPU's says so as `provider`, a name of `edgedistill.providers`.
    """

    address: str

    def facts(self) -> dict[str, Any]:
        """What it is: device (its address), os, arch, cpu, cores, kernel, and provenance, `measured` or `emulated` (then it has no times)."""
        ...

    def conditions(self) -> dict[str, Any]:
        """What changes: load_1min, and where they can be read governor, mhz, celsius, … A reading that the device does not give is absent."""
        ...

    def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
        """Do a job. A crash, a wrong answer or a missed deadline is a result with that status.

        Raises DeviceError when the device is not there, goes away, has no room or refuses.
        """
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


def check(address: str) -> None:
    """Raises ConfigError for an unknown way, or for what that way cannot read behind its name; nothing is connected."""
    way, _, rest = address.partition(":")
    module = plugins.load("devices", way)
    if hasattr(module, "check"):
        module.check(rest)


def connect(address: str) -> Device:
    """The device at an address.

    Raises ConfigError for an unknown way or an address that it cannot read, DeviceError when nothing answers there or a tool is missing here.
    """
    way, _, rest = address.partition(":")
    return cast(Device, plugins.load("devices", way).connect(rest))


def untimed(model: Path, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
    """The job that asks for the answers to feeds, one at a time on one thread, and for no times."""
    told = [{name: {"dtype": str(array.dtype), "values": array} for name, array in feed.items()} for feed in feeds]
    asked = {"provider": "CPUExecutionProvider", "threads": 1, "min_runs": 0, "min_s": 0.0, "answers": True}
    return {"model": str(model), "feeds": told, **asked}
