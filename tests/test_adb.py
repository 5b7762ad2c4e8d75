"""adb against a real arm64 adbd: Android's shell and tools, no glibc of its own, and phones that vanish, hang, are full or are two."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import adb_device
import device_cases as cases
import numpy as np
import pytest

from edgedistill import devices
from edgedistill.devices import _remote, _toolchain, adb
from edgedistill.devices._shell import known
from edgedistill.errors import ConfigError, DeviceError

pytestmark = [pytest.mark.adb]
HOME = "/data/local/tmp"


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    try:
        for make in (lambda: _toolchain.runner("aarch64"), lambda: _toolchain.library("aarch64"), lambda: _toolchain.glibc("aarch64")):
            make()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def phones() -> Iterator[adb_device.Phones]:
    with adb_device.running(2) as found:
        yield found


@pytest.fixture
def phone(phones: adb_device.Phones, monkeypatch: pytest.MonkeyPatch) -> str:
    """The serial of the first of two, which stays as it is."""
    return entered(phones, monkeypatch)


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> Iterator[adb_device.Phones]:
    """A phone that a test may break."""
    with adb_device.running(1) as found:
        entered(found, monkeypatch)
        yield found


def entered(phones: adb_device.Phones, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in phones.environment.items():
        if name != "HOME":  # the tools lie below it
            monkeypatch.setenv(name, value)
    return phones.serials[0]


def listed(phones: adb_device.Phones, place: str) -> list[str]:
    return phones.adb("-s", phones.serials[0], "shell", f"ls -i {HOME}/{place}").stdout.split()


def running(phones: adb_device.Phones) -> bool:
    """Whether a runner runs on the first phone."""
    return "./libonnxruntime.so" in phones.adb("-s", phones.serials[0], "shell", "cat /proc/[0-9]*/cmdline").stdout.split("\0")


def test_answers_agree_with_this_machine_when_256_rows_are_asked(phones: adb_device.Phones, phone: str, tmp_path: Path) -> None:
    model, rows = cases.classifier(tmp_path / "classifier.onnx"), cases.rows(256)
    with closing(devices.connect(f"adb:{phone}")) as device:
        facts = device.facts()
        ended = device.run(cases.asking(model, rows), 120)
        before = listed(phones, "edgedistill/blobs")
        assert device.run(cases.asking(model, rows), 120).result["status"] == "ok"
        assert listed(phones, "edgedistill/blobs") == before  # nothing was sent again
    assert (facts["os"], facts["arch"], facts["cpu"], facts["provenance"]) == ("android", "aarch64", "Edge 8 Cortex-A76", "measured")
    assert ended.result["status"] == "ok"
    pairs = list(zip(ended.answers, cases.here(model, rows), strict=True))
    assert len(pairs) == 256
    assert max(np.abs(found - wanted).max() for found, wanted in pairs) < 1e-5
    assert all((found.argmax(-1) == wanted.argmax(-1)).all() for found, wanted in pairs)
    assert len({int(wanted.argmax()) for _, wanted in pairs}) >= 4  # so agreement says something
    assert listed(phones, "") == []


def test_runs_queue_when_two_clients_are_there(fragile: adb_device.Phones, tmp_path: Path) -> None:
    """Both names are the one phone's, so only the phone itself keeps them apart."""
    asked, most = cases.job(cases.summed(tmp_path / "summed.onnx")), []
    with closing(devices.connect("adb")) as one, closing(devices.connect("adb:127.0.0.1")) as other:
        both = [cases.Doing(lambda device=device: device.run(asked, 120)) for device in (one, other)]
        while any(doing.is_alive() for doing in both):
            most.append(len(listed(fragile, "edgedistill/runs")) // 2)
        assert [doing.result(120).result["status"] for doing in both] == ["ok", "ok"]
    assert max(most) == 1
    assert listed(fragile, "") == []


def test_process_is_ended_there_when_its_deadline_passes(phones: adb_device.Phones, phone: str, tmp_path: Path) -> None:
    with closing(devices.connect(f"adb:{phone}")) as device:
        started = time.monotonic()
        result = device.run(cases.asking(cases.hanging(tmp_path / "hanging.onnx"), cases.ONE), 6).result
        assert (result["status"], result["detail"]) == ("timeout", "no result in 6 s")
        assert time.monotonic() - started < 90
        assert not running(phones)
    assert listed(phones, "") == []


@pytest.mark.parametrize(("which", "told"), [(signal.SIGKILL, "offline"), (signal.SIGSTOP, "said nothing for")])
def test_error_names_the_phone_when_it_goes_in_mid_run(
    fragile: adb_device.Phones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: signal.Signals, told: str
) -> None:
    monkeypatch.setattr(_remote, "GRACE_S", 2.0)
    device = devices.connect(f"adb:{fragile.serials[0]}")
    doing = cases.Doing(lambda: device.run(cases.asking(cases.hanging(tmp_path / "hanging.onnx"), cases.ONE), 20))
    cases.until(lambda: running(fragile), 120)
    fragile.signal(0, which)
    with pytest.raises(DeviceError, match=f"adb:{fragile.serials[0]}.*{told}") as caught:
        doing.result(60)
    assert caught.value.exit_code == 7
    assert caught.value.hint


def test_error_says_no_room_when_the_phone_is_full(fragile: adb_device.Phones, tmp_path: Path) -> None:
    fragile.adb("shell", f"head -c {(adb_device.SPACE_MIB - 8) * 2**20} /dev/zero >/data/fill")
    with closing(devices.connect("adb")) as device, pytest.raises(DeviceError, match="no room left"):
        device.run(cases.job(cases.summed(tmp_path / "summed.onnx")), 60)
    assert listed(fragile, "") == []


def test_error_says_more_than_one_when_a_name_is_two_phones(phones: adb_device.Phones, phone: str) -> None:
    for rest in ("127.0.0.1", ""):
        with pytest.raises(DeviceError, match="more than one device") as caught:
            adb.connect(rest)
        assert "adb devices" in caught.value.hint


def test_error_says_offline_when_the_phone_is_gone_before(fragile: adb_device.Phones) -> None:
    fragile.signal(0, signal.SIGKILL)
    cases.until(lambda: "offline" in fragile.adb("devices").stdout, 20)
    with pytest.raises(DeviceError, match="the device is offline") as caught:
        adb.connect(fragile.serials[0])
    assert "adb reconnect offline" in caught.value.hint


def test_error_names_the_list_when_there_is_no_such_phone(phones: adb_device.Phones, phone: str) -> None:
    with pytest.raises(DeviceError, match="adb:R58N: no such device") as caught:
        adb.connect("R58N")
    assert "adb devices" in caught.value.hint


def test_error_says_what_to_allow_when_the_phone_does_not_trust_us() -> None:
    told = "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\nTry 'adb kill-server' if that seems wrong."
    found = known(told, adb.SORRY)
    assert found
    assert "USB debugging" in found[1]


@pytest.mark.parametrize("rest", ["-d", "two words", "a\nb"])
def test_address_is_refused_when_it_is_none(rest: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        adb.connect(rest)


def test_error_names_the_package_when_there_is_no_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError) as caught:
        adb.connect("R58N")
    assert "apt-get install adb" in caught.value.hint
