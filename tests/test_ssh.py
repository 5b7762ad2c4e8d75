"""ssh against a real sshd: answers, what is carried over, who waits for whom, and everything that can go wrong with a machine far away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import device_cases as cases
import numpy as np
import onnx
import pytest
import ssh_device

from edgedistill import devices
from edgedistill.devices import ssh
from edgedistill.errors import ConfigError, DeviceError

pytestmark = [pytest.mark.ssh]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssh_device.Machine]:
    folder = tmp_path / "machine"
    folder.mkdir()
    with ssh_device.running(folder) as found:
        monkeypatch.setenv("EDGEDISTILL_SSH_CONFIG", str(found.config))
        yield found


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[ssh_device.Machine]:
    """A machine with so many MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    with ssh_device.running(folder, request.param) as found:
        monkeypatch.setenv("EDGEDISTILL_SSH_CONFIG", str(found.config))
        yield found


@pytest.fixture
def summed(tmp_path: Path) -> Path:
    return cases.summed(tmp_path / "summed.onnx")


def ours(machine: ssh_device.Machine) -> Path:
    return machine.cache / "edgedistill-device"


def blobs(machine: ssh_device.Machine) -> dict[str, tuple[int, int, int]]:
    found = {file.name: file.stat() for file in (ours(machine) / "blobs").iterdir()}
    return {name: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def runners(machine: ssh_device.Machine) -> set[int]:
    """The processes that are runners of this machine, by their command lines and folders."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words, place = file.read_bytes().split(b"\0"), os.readlink(file.parent / "cwd")
        except OSError:
            continue
        if words[:2] == [b"./runner", b"./libonnxruntime.so"] and place.startswith(str(machine.cache)):
            found.add(int(file.parent.name))
    return found


def test_answers_are_this_machines_when_256_rows_are_asked(machine: ssh_device.Machine, tmp_path: Path) -> None:
    model, rows = cases.classifier(tmp_path / "classifier.onnx"), cases.rows(256)
    with closing(devices.connect(machine.address)) as device:
        ended = device.run(cases.asking(model, rows), 60)
    assert ended.result["status"] == "ok"
    assert len(ended.answers) == 256
    for found, wanted in zip(ended.answers, cases.here(model, rows), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_result_is_read_when_the_machine_greets_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summed: Path) -> None:
    folder = tmp_path / "greeting"
    folder.mkdir()
    with ssh_device.running(folder, ForceCommand='echo "ready? welcome"; echo 1; eval "$SSH_ORIGINAL_COMMAND"') as machine:
        monkeypatch.setenv("EDGEDISTILL_SSH_CONFIG", str(machine.config))
        with closing(devices.connect(machine.address)) as device:
            assert device.facts()["os"] == "linux"
            assert device.run(cases.job(summed), 60).result["status"] == "ok"


def test_second_run_sends_nothing_when_all_is_there(machine: ssh_device.Machine, summed: Path) -> None:
    with closing(devices.connect("ssh:board")) as device:
        assert device.run(cases.job(summed), 60).result["status"] == "ok"
        before = blobs(machine)
        assert len(before) >= 4  # the runner, ONNX Runtime, the model, the job
        assert device.run(cases.job(summed), 60).result["status"] == "ok"
        assert blobs(machine) == before
        assert not list((ours(machine) / "runs").iterdir())
    assert not ours(machine).exists()


def test_half_of_a_file_is_no_file_when_it_lies_there(machine: ssh_device.Machine, summed: Path) -> None:
    with closing(devices.connect(machine.address)) as device:
        device.run(cases.job(summed), 60)
        largest = max((ours(machine) / "blobs").iterdir(), key=lambda file: file.stat().st_size)
        size = largest.stat().st_size
        os.truncate(largest, size // 2)
        largest.with_name("0" * 64 + ".part").write_bytes(b"half")
        assert device.run(cases.job(summed), 60).result["status"] == "ok"
        assert largest.stat().st_size == size
        assert not list((ours(machine) / "blobs").glob("*.part"))


def test_weights_come_along_when_they_lie_beside_the_model(machine: ssh_device.Machine, tmp_path: Path) -> None:
    whole, model = cases.classifier(tmp_path / "whole.onnx"), tmp_path / "apart.onnx"
    onnx.save(onnx.load(whole), model, save_as_external_data=True, location="apart.onnx.data", size_threshold=0)
    with closing(devices.connect(machine.address)) as device:
        ended = device.run(cases.asking(model, cases.rows(2)), 60)
    assert ended.result["status"] == "ok", ended.result
    np.testing.assert_array_equal(ended.answers[1], cases.here(whole, cases.rows(2))[1])


def test_runs_queue_when_two_clients_are_there(machine: ssh_device.Machine, summed: Path) -> None:
    """Their addresses differ, so only the machine itself keeps them apart."""
    asked = cases.job(summed, min_s=1.0)
    runs, most = ours(machine) / "runs", []
    with closing(devices.connect(machine.address)) as one, closing(devices.connect("ssh:board")) as other:
        both = [cases.Doing(lambda device=device: device.run(asked, 60)) for device in (one, other)]
        while any(doing.is_alive() for doing in both):
            most.append(max(len(list(runs.glob("*"))), len(runners(machine))))
            time.sleep(0.02)
        assert [doing.result(60).result["status"] for doing in both] == ["ok", "ok"]
    assert max(most) == 1
    assert not ours(machine).exists()


def test_first_to_close_leaves_the_folder_when_another_is_at_work(machine: ssh_device.Machine, summed: Path) -> None:
    with closing(devices.connect("ssh:board")) as one:
        other = devices.connect(machine.address)
        doing = cases.Doing(lambda: one.run(cases.job(summed, min_s=3.0), 60))
        cases.until(lambda: bool(runners(machine)), 30)
        other.close()
        assert blobs(machine)
        assert doing.result(60).result["status"] == "ok"
    assert not ours(machine).exists()


CLIENT = """
import json, sys
from edgedistill import devices
device = devices.connect(sys.argv[1])
device.run(json.loads(sys.argv[2]), 600)
"""


def test_machine_is_free_again_when_a_client_is_killed(machine: ssh_device.Machine, summed: Path, tmp_path: Path) -> None:
    asked = json.dumps(cases.asking(cases.hanging(tmp_path / "hanging.onnx"), cases.ONE))
    client = subprocess.Popen([sys.executable, "-c", CLIENT, machine.address, asked])
    cases.until(lambda: bool(runners(machine)), 60)
    client.send_signal(signal.SIGKILL)
    client.wait()
    with closing(devices.connect("ssh:board")) as device:
        assert device.run(cases.job(summed), 60).result["status"] == "ok"
    assert not runners(machine)
    assert not ours(machine).exists()


def test_process_is_ended_there_when_its_deadline_passes(machine: ssh_device.Machine, tmp_path: Path) -> None:
    with closing(devices.connect(machine.address)) as device:
        started = time.monotonic()
        result = device.run(cases.asking(cases.hanging(tmp_path / "hanging.onnx"), cases.ONE), 3).result
        assert (result["status"], result["detail"]) == ("timeout", "no result in 3 s")
        assert time.monotonic() - started < 25
        assert not runners(machine)


def test_error_names_the_machine_when_it_vanishes_in_mid_run(machine: ssh_device.Machine, tmp_path: Path) -> None:
    with closing(devices.connect(machine.address)) as device:
        doing = cases.Doing(lambda: device.run(cases.asking(cases.hanging(tmp_path / "hanging.onnx"), cases.ONE), 60))
        cases.until(lambda: bool(runners(machine)), 60)
        machine.vanish()
        with pytest.raises(DeviceError, match=f"127.0.0.1:{machine.port}") as caught:
            doing.result(30)
    assert caught.value.exit_code == 7
    assert caught.value.hint


@pytest.mark.parametrize("small", [8], indirect=True)
def test_error_says_no_room_when_the_machine_is_too_small(small: ssh_device.Machine, summed: Path) -> None:
    with closing(devices.connect(small.address)) as device, pytest.raises(DeviceError, match="no room left"):
        device.run(cases.job(summed), 60)


@pytest.mark.parametrize("small", [64], indirect=True)
def test_error_says_no_room_when_the_answers_do_not_fit(small: ssh_device.Machine, summed: Path, tmp_path: Path) -> None:
    asked = cases.asking(cases.wide(tmp_path / "wide.onnx"), cases.ONE * 2)
    with closing(devices.connect(small.address)) as device:
        assert device.run(asked, 60).answers[1].size == 2**20
        said = device.shell.run('head -c 100000000 /dev/zero >"$1"', f"{small.cache}/fill")
        assert "No space left" in said.err
        with pytest.raises(DeviceError, match=r"no room left|answers: No space left"):
            device.run(asked, 60)


def test_error_names_ssh_keygen_when_the_host_key_changes(machine: ssh_device.Machine, tmp_path: Path) -> None:
    other = ssh_device.new_key(tmp_path / "other")
    machine.known_hosts.write_text(f"[127.0.0.1]:{machine.port} {other}\n", encoding="ascii")
    with pytest.raises(DeviceError, match=rf"host key of \[127.0.0.1\]:{machine.port}") as caught:
        devices.connect(machine.address)
    assert f"ssh-keygen -f {machine.known_hosts} -R '[127.0.0.1]:{machine.port}'" in caught.value.hint


def test_error_names_the_known_hosts_when_the_host_key_is_unknown(machine: ssh_device.Machine) -> None:
    machine.known_hosts.write_text("", encoding="ascii")
    with pytest.raises(DeviceError, match="is not known") as caught:
        devices.connect(machine.address)
    assert f"ssh-keyscan -p {machine.port} 127.0.0.1" in caught.value.hint


def test_error_names_ssh_copy_id_when_the_key_is_not_let_in(machine: ssh_device.Machine) -> None:
    ssh_device.new_key(machine.config.parent / "user_key")
    with pytest.raises(DeviceError, match="lets nobody in") as caught:
        devices.connect(machine.address)
    assert "ssh-copy-id" in caught.value.hint


def test_error_says_that_nothing_answers_when_the_machine_is_off(machine: ssh_device.Machine) -> None:
    machine.vanish()
    with pytest.raises(DeviceError, match=f"nothing answers at 127.0.0.1 port {machine.port}: Connection refused"):
        devices.connect("ssh:board")


@pytest.mark.parametrize("rest", ["", "a b", "-oProxyCommand=true", "x@-oProxyCommand=true", "a:b", "@a", "[::1", "[-x]"])
def test_address_is_refused_when_it_is_none(rest: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        ssh.connect(rest)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [("pi", ("pi", "")), ("pi@kitchen:2222", ("pi@kitchen", "2222")), ("pi@[::1]:22", ("pi@::1", "22")), ("10.0.0.7", ("10.0.0.7", ""))],
)
def test_address_is_read_when_it_has_a_user_or_a_port(rest: str, expected: Any) -> None:
    assert ssh._parts(rest) == expected


def test_error_names_the_package_when_there_is_no_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError) as caught:
        ssh.connect("pi")
    assert "openssh-client" in caught.value.hint
