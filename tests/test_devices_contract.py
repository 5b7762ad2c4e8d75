"""What every way to a device keeps: the same facts, the same verdicts, the same answers, and nothing left behind.

The list of ways is the folder's. A way that needs a machine says in `PREPARED` how the tests come by one; the others are asked by their name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import adb_device
import device_cases as cases
import numpy as np
import pytest
import ssh_device

from edgedistill import devices, plugins
from edgedistill.devices import qemu
from edgedistill.errors import DeviceError

WAYS = plugins.names("devices")
assert {"adb", "local", "qemu", "ssh"} <= set(WAYS)
ROWS = 8


@dataclass(frozen=True)
class Found:
    """A device under test, and what lies on it that is ours."""

    device: devices.Device
    left: Callable[[], list[str]]


@contextmanager
def behind_ssh(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    with ssh_device.running(folder) as machine:
        patch.setenv("EDGEDISTILL_SSH_CONFIG", str(machine.config))
        yield machine.address, lambda: [file.name for file in machine.cache.iterdir()]


@contextmanager
def behind_adb(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    with adb_device.running() as phones:
        patch.setenv("ADB_SERVER_SOCKET", phones.environment["ADB_SERVER_SOCKET"])
        yield f"adb:{phones.serials[0]}", lambda: phones.adb("shell", "ls /data/local/tmp").stdout.split()


PREPARED = {"ssh": behind_ssh, "adb": behind_adb}
MARKS = {way: (getattr(pytest.mark, way),) for way in WAYS if way != "local"}
ADDRESSES: Mapping[str, str] = {"qemu": "qemu:cortex-a53", "browser": "browser:wasm"}

WANTING: Mapping[str, Callable[[], str]] = {"qemu": lambda: qemu.lacking("cortex-a53")}  # what connects without its tools, and lacks them at a run


@pytest.fixture(
    scope="module",
    params=[pytest.param(way, marks=[*MARKS.get(way, ())], id=way) for way in WAYS],
)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """One device for all of a way's tests; after them, in whatever order they ran, it is closed and nothing is left. Skips with the reason."""
    way = request.param
    folder, here = tmp_path_factory.mktemp(f"device-{way}"), tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(here) if way not in PREPARED else None)
        prepare = PREPARED.get(way)
        try:
            if prepare is None:
                device = devices.connect(ADDRESSES.get(way, way))
                if lacking := WANTING.get(way, lambda: "")():
                    pytest.skip(lacking)
                yield from closed(Found(device, lambda: [file.name for file in here.iterdir()]))
            else:
                with prepare(folder, patch) as (address, left):
                    yield from closed(Found(devices.connect(address), left))
        except DeviceError as error:
            pytest.skip(str(error))


def closed(found: Found) -> Iterator[Found]:
    yield found
    found.device.close()
    assert found.left() == [], f"{found.device.address} is closed, and something of ours is left there"


def test_facts_have_the_common_keys_when_asked(found: Found) -> None:
    facts = found.device.facts()
    assert facts["device"] == found.device.address
    assert {"os", "arch", "cpu", "cores", "kernel"} <= facts.keys()
    assert all(facts[name] for name in ("os", "arch", "cpu", "kernel"))
    assert facts["cores"] >= 1
    assert facts["provenance"] in ("measured", "emulated")


def test_conditions_are_plain_numbers_and_words_when_asked(found: Found) -> None:
    assert all(isinstance(value, int | float | str) for value in found.device.conditions().values())


def test_status_is_ok_when_the_answers_are_the_golden_ones(found: Found, tmp_path: Path) -> None:
    result = found.device.run(cases.job(cases.summed(tmp_path / "summed.onnx")), 120).result
    assert (result["status"], result["worst_difference"]) == ("ok", 0)
    paged = found.device.address.startswith("browser:")  # a page's memory comes in steps, and a model of nothing fits into the first
    assert result["peak_mib"] > 0 or (paged and result["peak_mib"] == 0)
    assert "CPUExecutionProvider" in result["providers"]


def test_status_is_wrong_when_a_golden_answer_is_off(found: Found, tmp_path: Path) -> None:
    asked = cases.job(cases.summed(tmp_path / "summed.onnx"), golden=[[[6, 9]], [[18, 21]]])
    result = found.device.run(asked, 120).result
    assert (result["status"], result["worst_difference"]) == ("wrong", 2)


def test_status_is_crashed_with_its_reason_when_the_model_is_damaged(found: Found, tmp_path: Path) -> None:
    model = cases.summed(tmp_path / "damaged.onnx")
    model.write_bytes(model.read_bytes()[:-40])
    result = found.device.run(cases.job(model), 120).result
    assert result["status"] == "crashed"
    assert len(result["detail"]) > 20


def test_status_is_timeout_when_the_model_hangs(found: Found, tmp_path: Path) -> None:
    result = found.device.run(cases.asking(cases.hanging(tmp_path / "hanging.onnx"), cases.ONE), 4).result
    assert result["status"] == "timeout"
    assert "4 s" in result["detail"]


@pytest.mark.parametrize("make", [cases.classifier, cases.apart], ids=["in one file", "weights beside it"])
def test_answers_are_this_machines_when_they_are_asked_for(found: Found, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    model, rows = make(tmp_path / "classifier.onnx"), cases.rows(ROWS)
    ended = found.device.run(cases.asking(model, rows), 120)
    assert ended.result["status"] == "ok"
    assert len(ended.answers) == ROWS
    for answer, wanted in zip(ended.answers, cases.here(model, rows), strict=True):
        assert (answer.dtype, answer.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(answer, wanted, atol=1e-5)
