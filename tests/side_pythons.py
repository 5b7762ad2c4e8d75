"""Pythons with other ONNX Runtimes than ours, for EDGEDISTILL_PYTHON: made once in the tools folder, from PyPI and Debian.

python tests/side_pythons.py     makes those that are missing, and prints where they are
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgedistill.cache import key_of
from edgedistill.devices import _toolchain
from edgedistill.errors import DeviceError

NUMPY = "numpy==2.4.6"
VENVS: Mapping[str, Sequence[str]] = {  # without their dependencies: none is imported by a session
    "openvino": ("onnxruntime-openvino==1.24.1", NUMPY),
    "plugins": ("onnxruntime==1.31.1", "onnxruntime-qnn==2.7.0", "onnxruntime-ep-openvino==1.8.1", NUMPY),
}
DEBIAN = "xnnpack"  # Debian 13's ONNX Runtime 1.21, which runs on an older Debian through its own loader
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UNUSED = {"dpkg", "tar", "debconf", "tzdata", "media-types", "netbase", "python3-sympy", "python3-mpmath", "python3-numpy-dev"}
APT = """
Dir::State::status "{folder}/status";
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
"""
WRAPPER = """#!/bin/sh
usr="$(dirname "$(readlink -f "$0")")/root/usr"
libs="$usr/lib/x86_64-linux-gnu"
exec "$usr/lib64/ld-linux-x86-64.so.2" --library-path "$libs:$libs/blas:$libs/lapack" --argv0 "$usr/bin/python3.13" "$usr/bin/python3.13" "$@"
"""


def python(name: str) -> Path:
    """The interpreter of that name. Raises DeviceError where it cannot be made here."""
    if name == DEBIAN:
        return _toolchain.kept(f"python-{DEBIAN}-{key_of({'wrapper': WRAPPER, 'unused': sorted(UNUSED)})[:16]}", _debian) / "python"
    wanted = VENVS[name]
    return _toolchain.kept(f"python-{name}-{key_of({'wanted': list(wanted)})[:16]}", lambda folder: _venv(folder, wanted)) / "bin" / "python"


def _venv(folder: Path, wanted: Sequence[str]) -> None:
    _done([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    _done([sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-deps", *wanted])


def _debian(folder: Path) -> None:
    if not KEYS.is_file() or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise DeviceError("Debian 13's ONNX Runtime is fetched with Debian's own tools", hint="apt-get install debian-archive-keyring")
    work = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={KEYS}] http://deb.debian.org/debian trixie main\n", encoding="ascii")
    (work / "apt.conf").write_text(APT.format(folder=work), encoding="ascii")
    apt = ["env", f"APT_CONFIG={work / 'apt.conf'}", "apt-get", "-qq"]
    _done([*apt, "update"])
    planned = [line.split()[1] for line in _done([*apt, "install", "-s", "python3-onnxruntime"]).splitlines() if line.startswith("Inst")]
    _done([*apt, "download", *(name for name in planned if name not in UNUSED)], cwd=work / "debs")
    for package in sorted((work / "debs").glob("*.deb")):
        _done(["dpkg-deb", "-x", str(package), str(folder / "root")])
    shutil.rmtree(work)
    (folder / "python").write_text(WRAPPER, encoding="ascii")
    (folder / "python").chmod(0o755)


def _done(command: Sequence[str], cwd: Path | None = None) -> str:
    """What a command printed. Raises DeviceError that repeats it with the last line of its errors."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_toolchain.FETCH_S, check=False, cwd=cwd)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"nothing in {_toolchain.FETCH_S} s", hint=" ".join(command)) from error
    if ended.returncode:
        raise DeviceError((ended.stderr.strip().splitlines() or ["no output"])[-1], hint=" ".join(command))
    return ended.stdout


if __name__ == "__main__":
    for which in (*VENVS, DEBIAN):
        print(which, python(which))
