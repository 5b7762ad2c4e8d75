"""What a machine says of itself, read from texts of machines that are not here; and what the toolchain has for them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgedistill.devices import _system, _toolchain
from edgedistill.devices._system import System
from edgedistill.errors import DeviceError

PI = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nRevision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
PHONE = "".join(f"processor\t: {core}\nCPU part\t: {part}\n\n" for core, part in enumerate(["0xd05"] * 4 + ["0xd0d"] * 4)) + "Hardware\t: Qualcomm\n"
PC = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (PI, "Raspberry Pi 4 Model B Rev 1.4"),
        (PHONE, "Cortex-A55 + Cortex-A77"),
        (PC, "Intel(R) Xeon(R) CPU"),
        ("CPU part\t: 0xfff\n", "ARM part 0xfff"),
        ("", "unknown"),
    ],
)
def test_cpu_has_a_name_when_cpuinfo_is_of_any_kind(cpuinfo: str, name: str) -> None:
    assert _system.cpu_name(cpuinfo) == name


def test_conditions_are_the_fastest_and_hottest_when_there_are_several() -> None:
    said = "load_1min 0.52\ngovernor schedutil\nkhz 300000\ngovernor performance\nkhz 2841600\nmillicelsius 41200\nmillicelsius 55000\n"
    assert _system.conditions(said) == {"load_1min": 0.52, "governor": "schedutil + performance", "mhz": 2841, "celsius": 55.0}
    assert _system.conditions("") == {}


@pytest.mark.parametrize(("has", "runs"), [(0, False), (28, False), (34, True), (41, True)])
def test_glibc_suits_when_it_has_the_newest_symbol_that_is_asked_for(tmp_path: Path, has: int, runs: bool) -> None:
    (tmp_path / "a").write_bytes(b"..GLIBC_2.9\0GLIBC_2.34\0")
    (tmp_path / "b").write_bytes(b"GLIBC_2.17\0")
    system = System(os="linux", arch="aarch64", cpu="", cores=1, kernel="", glibc=has)
    assert system.runs([tmp_path / "a", tmp_path / "b"]) is runs


def test_runner_is_built_for_armv7_when_there_is_a_compiler() -> None:
    try:
        runner = _toolchain.runner("armv7l")
    except DeviceError as error:
        pytest.skip(str(error))
    head = runner.read_bytes()[:20]
    assert (head[:4], head[4], int.from_bytes(head[18:20], "little")) == (b"\x7fELF", 1, 40)  # 32 bits, EM_ARM
    root = _toolchain.LOADERS["armv7l"][0].parent
    if shutil.which("qemu-arm") and (root / "lib" / "ld-linux-armhf.so.3").exists():
        said = subprocess.run(["qemu-arm", "-L", str(root), str(runner)], capture_output=True, text=True, check=False, timeout=60)
        assert (said.returncode, "runner LIBONNXRUNTIME JOB" in said.stderr) == (2, True)


def test_library_is_the_named_one_when_there_is_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="armv7l") as caught:
        _toolchain.library("armv7l")
    assert "EDGEDISTILL_ONNXRUNTIME=" in caught.value.hint
    monkeypatch.setenv("EDGEDISTILL_ONNXRUNTIME", "/opt/libonnxruntime.so")
    assert _toolchain.library("armv7l") == Path("/opt/libonnxruntime.so")
