"""A phone for the tests: Debian's arm64 adbd under qemu, in namespaces of its own, with an adb server that only they reach.

    with adb_device.running(2) as phones:
        phones.adb("-s", phones.serials[0], "shell", "uname", "-m")

Like a phone it has mksh, toybox and `getprop`, and no glibc where programs look for one. The adb server listens on a file, none of it on a
port of this machine. What it is made of is fetched once into the tools folder, by digest. Run as a program it is the process 1 of those namespaces.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from edgedistill.devices import _toolchain
from edgedistill.errors import DeviceError

MIRROR = "http://deb.debian.org/debian/pool/main"
QEMU = ("q/qemu/qemu-user_10.0.13+ds-0+deb13u1_amd64.deb", "ca6ede739327a20ae5a3498230c8a3a9a072c586e131bc6bcc1201eb1725e336")
TREE = {  # Debian 13, arm64
    "a/android-platform-external-boringssl/android-libboringssl_14.0.0+r45-2": "6dd20f2d7ad3cdff7c80d8076feea6258c8e9f0a0a23ad85d447eeb3e7f11c36",
    "a/android-platform-tools/adbd_34.0.5-12": "c8d2cb679fb6b0d508181310f7fb0e6ce4e713376ac123b9c47f1be58112ce6c",
    "a/android-platform-tools/android-libbase_34.0.5-12": "1b1460faa12cf04611cb58ff02808608fd2e3be642b72752a189c4ab84112a20",
    "a/android-platform-tools/android-libcutils_34.0.5-12": "683ec66783e0d54e91bee661af7f758528b2c85163d585ae936d1cfd5bf8d661",
    "a/android-platform-tools/android-liblog_34.0.5-12": "7ce80b00c4592d0021ce2973d922f1c014fbbe33a289690732dfb556bfbbec96",
    "b/brotli/libbrotli1_1.1.0-2+b7": "10270398c4842e71c72b4081fa1761728b3225d6c8dce7c58d5baafe58a5e18f",
    "g/gcc-14/libgcc-s1_14.2.0-19": "1108bc87879833d6d9a145f22a4a15cddb34e065b4b5f4b97bee586adbac2851",
    "g/gcc-14/libstdc++6_14.2.0-19": "6669b0c52a2e7c6af9adfdabce3ff6e286065cdfbc7b85280862b5f799daebee",
    "g/glibc/libc6_2.41-12+deb13u4": "8784eda966b189c777a384dac5ce009e8fc9b52d006926c5a013e7fa8aa688cc",
    "libb/libbsd/libbsd0_0.12.2-2": "6827c1b3ad8dcbf3478803f9150359433e3376a3bde01c4503888a22eb3924e3",
    "libc/libcap2/libcap2_2.75-10+deb13u1+b3": "863aa5b9cdf6f80010b48982d4639126b09a89eeef2c0c5c7be226297c811581",
    "libm/libmd/libmd0_1.1.0-2+b1": "772e86842fd3fa1816a0cfee4833a73996aaa550461491543b886b9c8f999052",
    "libx/libxcrypt/libcrypt1_4.4.38-1": "b9aaa808aa3812b3de3e54eb5dfb16762c1779db032604abef2354c02fdc29b8",
    "l/lz4/liblz4-1_1.10.0-4": "f86fa7f8112d56b74f99c4a8baade57a9962d187d7c8e319428e171b2a34d223",
    "libz/libzstd/libzstd1_1.5.7+dfsg-1": "924540bd59fdbfa77a0604360efdaca54411a43daf11c7e002a3c64791b67448",
    "m/mksh/mksh_59c-41+b2": "582093190c532e1b183ae4b6efbf797218ecc129931005de49b55aaff58333db",
    "p/protobuf/libprotobuf32t64_3.21.12-11+deb13u1": "51bf38fcca667be0deef732a903563ee6ffa9bfc04433310c2c49e4c92d06b09",
    "s/systemd/libsystemd0_257.13-1~deb13u1": "d2f63c408549c29eaefb6f4c948393edce99f45ee8e43c991391bef63fb7d54b",
    "t/toybox/toybox_0.8.9+dfsg-1.1": "5d26309bf61823286d8a6d4c788abd0d06b0aa7ba72f784ed55441822dfae78d",
    "x/xxhash/libxxhash0_0.8.3-2": "66665776740ced6c5ddcb48a89a92b056d0dcb13851e1ff573d2b99b766e5c6c",
    "z/zlib/zlib1g_1.3.dfsg+really1.3.1-1+b1": "209aa5cf671e97b9eb0410844fa6df4cae2e75b0c72e7802ab6c8ece13e6ddef",
}
LOADER = ("/system/lib/ld-linux-aarch64.so.1", "--library-path", "/system/lib")
GETPROP = 'case "$1" in ro.product.model) echo "Edge 8";; esac'
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
FIRST_PORT = 16555  # outside the range where an adb server looks for emulators by itself
SPACE_MIB = 192
START_S = 60


@dataclass(frozen=True)
class Phones:
    """The running phones, and the environment in which `adb` finds them."""

    serials: list[str]
    environment: dict[str, str]
    inside: subprocess.Popen[str]

    def adb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One adb command."""
        return subprocess.run(["adb", *words], env={**os.environ, **self.environment}, capture_output=True, text=True, check=False, timeout=START_S)

    def signal(self, number: int, which: signal.Signals) -> None:
        """Send a phone's adbd a signal: SIGKILL is a pulled cable, SIGSTOP a phone that hangs."""
        assert self.inside.stdin
        assert self.inside.stdout
        print(number, int(which), file=self.inside.stdin, flush=True)
        assert self.inside.stdout.readline().strip() == "sent"


@contextlib.contextmanager
def running(count: int = 1) -> Iterator[Phones]:
    """So many phones on one adb server. Skips the test, with the reason, where they cannot be had."""
    tree = made()
    with tempfile.TemporaryDirectory(prefix="phones-") as folder:
        address = f"localfilesystem:{folder}/adb"
        environment = {"ADB_SERVER_SOCKET": address, "HOME": folder}
        spaces = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
        command = [*spaces, sys.executable, __file__, str(tree), str(count), address]
        with (Path(folder) / "log").open("w+", encoding="utf-8") as log:
            inside = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
            try:
                assert inside.stdout
                if inside.stdout.readline().strip() != "ready":
                    log.seek(0)
                    pytest.skip(f"no namespaces of one's own here: {(log.read().strip().splitlines() or ['no word'])[-1]}")
                yield Phones([serial(number) for number in range(count)], environment, inside)
            finally:
                inside.kill()
                inside.communicate()


def serial(number: int) -> str:
    """The address of a phone, inside the namespaces."""
    return f"127.0.0.1:{FIRST_PORT + number}"


def made() -> Path:
    """The phone's files and the emulator, fetched once."""
    for tool in ("adb", "unshare", "dpkg-deb"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not here: apt-get install adb util-linux dpkg")
    asked = sha256(repr((QEMU, TREE, GETPROP)).encode()).hexdigest()[:16]
    try:
        return _toolchain.kept(f"phone-{asked}", _make)
    except (DeviceError, OSError) as error:
        pytest.skip(f"the phone cannot be made here: {error}")


def _make(folder: Path) -> None:
    unpacked = folder / "unpacked"
    for name, digest in TREE.items():
        _unpack(f"{name}_arm64.deb", digest, unpacked)
    root = folder / "root"
    for place in ("proc", "dev", "sys", "data", "system/bin", "system/lib"):
        (root / place).mkdir(parents=True)
    for library in [*unpacked.rglob("*.so*"), *unpacked.rglob("*.so")]:
        if library.exists() and not library.is_dir():
            shutil.copy2(library, root / "system/lib" / library.name)
    programs = root / "system/bin"
    for name, found in (("adbd", "platform-tools/adbd"), ("toybox", "bin/toybox"), ("sh", "aarch64-linux-musl/bin/mksh")):
        shutil.copy2(next(unpacked.rglob(found)), programs / name)
    (root / "bin").symlink_to("system/bin")
    _unpack(*QEMU, folder / "emulator")
    shutil.copy2(folder / "emulator/usr/bin/qemu-aarch64", folder / "qemu-aarch64")
    listed = subprocess.run(
        [folder / "qemu-aarch64", *(str(root) + word for word in LOADER[:1]), "--library-path", root / "system/lib", programs / "toybox"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    _script(programs / "getprop", GETPROP)
    for applet in set(listed.split()) - {"sh", "toysh", "getprop"}:
        _script(programs / applet, f'exec {" ".join(LOADER)} /system/bin/toybox {applet} "$@"')
    shutil.rmtree(unpacked)
    shutil.rmtree(folder / "emulator")


def _script(file: Path, line: str) -> None:
    file.write_text(f"#!/system/bin/sh\n{line}\n", encoding="ascii")
    file.chmod(0o755)


def _unpack(name: str, digest: str, folder: Path) -> None:
    with urllib.request.urlopen(f"{MIRROR}/{name}", timeout=60) as answer:
        content = answer.read()
    if sha256(content).hexdigest() != digest:
        raise OSError(f"{name} is not what it was")
    folder.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "--fsys-tarfile", "/dev/stdin"], input=content, stdout=(folder / ".tar").open("wb"), check=True)
    subprocess.run(["tar", "-x", "--no-same-owner", "-C", str(folder), "-f", str(folder / ".tar")], check=True)
    (folder / ".tar").unlink()


# ── inside the namespaces ────────────────────────────────────────────────────────────────────────────────────────────


def inside(tree: Path, count: int, address: str) -> None:
    """Mount, start, connect, say `ready`; then pass signals on until stdin ends."""
    root = tree / "root"
    mount("-t", "binfmt_misc", "none", "/proc/sys/fs/binfmt_misc")
    Path("/proc/sys/fs/binfmt_misc/register").write_text(f":arm64:M::{MAGIC}:{MASK}:{tree}/qemu-aarch64:FP", encoding="ascii")
    mount("-t", "proc", "proc", str(root / "proc"))
    for place in ("dev", "sys"):
        mount("--rbind", f"/{place}", str(root / place))
    mount("-t", "tmpfs", "-o", f"size={SPACE_MIB}m", "none", str(root / "data"))
    (root / "data/local/tmp").mkdir(parents=True)
    loopback_up()
    daemons = [start(root, FIRST_PORT + number) for number in range(count)]
    subprocess.Popen(["adb", "-L", address, "server", "nodaemon"], stdout=sys.stderr)
    for number in range(count):
        connect(serial(number))
    print("ready", flush=True)
    for line in sys.stdin:
        number, which = map(int, line.split())
        daemons[number].send_signal(which)
        print("sent", flush=True)


def start(root: Path, port: int) -> subprocess.Popen[bytes]:
    environment = {"ADBD_PORT": str(port), "PATH": "/system/bin", "HOME": "/data", "QEMU_CPU": "cortex-a76"}
    return subprocess.Popen(
        ["/usr/sbin/chroot", str(root), *LOADER, "/system/bin/adbd"], env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr
    )


def connect(wanted: str) -> None:
    """Until adb sees the phone."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        subprocess.run(["adb", "connect", wanted], stdout=sys.stderr, check=False)
        state = subprocess.run(["adb", "-s", wanted, "get-state"], capture_output=True, text=True, check=False).stdout
        if state.strip() == "device":
            return
        time.sleep(0.2)
    raise TimeoutError(f"adb does not see {wanted}")


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def loopback_up() -> None:
    """What `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


if __name__ == "__main__":
    inside(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
