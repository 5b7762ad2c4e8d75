"""Chromium on this machine, with onnxruntime-web: a fresh browser with a new profile for every job, and no window.

browser:wasm   the CPU through WebAssembly          browser:webgpu   the GPU; with EDGEDISTILL_WEBGPU=swiftshader a software adapter, emulated

The page comes from a server on 127.0.0.1, fetches its job and sends its result there; no driver stands between.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from edgedistill.devices import Ended, _npm, _page, _script, qemu
from edgedistill.devices.local import Local
from edgedistill.errors import ConfigError, DeviceError, nearest
from edgedistill.providers import WEB

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "apt-get install chromium   (or name one: EDGEDISTILL_BROWSER=PATH)"
QUIET = (
    *("--headless", "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-extensions", "--disable-breakpad", "--disable-crash-reporter", "--remote-debugging-pipe"),
)
WHILE_WE_LIVE = ("sh", "-c", 'exec "$0" "$@" 3<&0 4>/dev/null')  # the debugging pipe is our end of its stdin: closed, the browser ends
FLAGS: Mapping[str, Sequence[str]] = {
    "wasm": ("--disable-gpu",),
    "webgpu": ("--enable-unsafe-webgpu", "--enable-features=Vulkan"),
    "swiftshader": ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"),
}
NO_ADAPTER = "flags: {flags}; a GPU needs its Vulkan driver. EDGEDISTILL_WEBGPU=swiftshader gives answers without one, and no times"
START_S = 60.0
GONE_S = 5.0
NO_TIME = {"min_runs": 0, "min_s": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """Chromium through the agent in a page."""

    way: str
    executable: str
    flags: Sequence[str]
    found: Mapping[str, Any]

    @property
    def address(self) -> str:
        """As it is written on the command line."""
        return f"browser:{self.way}"

    def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
        """Run a job in a fresh browser; `peak_mib` is what its WebAssembly memory grew by, and None for a GPU, which does not tell.

        Raises DeviceError for another provider than the address names, or when another one did the work.
        """
        wanted = WEB[self.way]
        _script.require(self.address, (wanted, self.way), job["provider"])
        named = {**job, "provider": wanted, **(NO_TIME if self._emulated else {})}
        ended = _execute(self.executable, self.flags, named, deadline_s)
        did = ended.result.get("providers", [wanted])
        if wanted not in did:
            raise DeviceError(
                f"{self.address}: the work was done by {', '.join(did)}, nothing by {wanted}",
                hint="the GPU takes no node of this model: measure it on `browser:wasm`",
            )
        return Ended(result=qemu.without_times(ended.result), answers=ended.answers) if self._emulated else ended

    @property
    def provider(self) -> str:
        """What a bench asks this device for where nobody names a provider."""
        return {"wasm": "cpu", "webgpu": "webgpu"}[self.way]

    def facts(self) -> dict[str, Any]:
        """This machine and its browser; `timer_us` is the step of the page's clock."""
        here = {name: value for name, value in Local(self.address).facts().items() if name != "python"}
        told = {name: value for name, value in self.found.items() if not name.startswith("gpu")}
        gpu = {"gpu": self.found["gpu"] + (" (software adapter)" if self._emulated else "")} if self.way == "webgpu" else {}
        page = {"os": "web", "arch": "wasm32", "host": f"{here['os']} on {here['arch']}"}
        return {**here, **told, **gpu, **page, "provenance": "emulated" if self._emulated else "measured"}

    def conditions(self) -> dict[str, Any]:
        """How busy this machine is now."""
        return Local().conditions()

    def close(self) -> None:
        """Every job cleans up after itself."""

    @property
    def _emulated(self) -> bool:
        return self.way == "webgpu" and bool(self.found["gpu_is_software"])


def check(way: str) -> None:
    """Raises ConfigError for an unknown way, and for an adapter that the environment names and nobody knows."""
    if way not in WEB:
        raise ConfigError(f"unknown device 'browser:{way}'", hint=nearest(way, WEB))
    _adapter()


def connect(way: str) -> Browser:
    """The browser that is here, after it has shown what it is.

    Raises ConfigError for an unknown way, DeviceError when there is no browser, it does not answer, or it has no adapter for WebGPU.
    """
    check(way)
    executable, flags = _executable(), FLAGS[_adapter() if way == "webgpu" else way]
    ended = _execute(executable, flags, None, START_S)
    if "browser" not in ended.result:
        raise DeviceError(f"{executable} does not answer: {ended.result['detail']}", hint=INSTALL)
    browser = Browser(way=way, executable=executable, flags=flags, found=ended.result)
    if way == "webgpu":
        _require_adapter(browser)
    return browser


def _require_adapter(browser: Browser) -> None:
    """A software adapter counts only for who asked for it."""
    hint = NO_ADAPTER.format(flags=" ".join(browser.flags))
    if browser.found["gpu"] is None:
        raise DeviceError(f"{browser.found['browser']} has no WebGPU adapter", hint=hint)
    if browser.found["gpu_is_software"] and _adapter() != "swiftshader":
        raise DeviceError(f"{browser.found['browser']} has no WebGPU adapter but {browser.found['gpu']}, which is software", hint=hint)


def _adapter() -> str:
    asked = os.environ.get("EDGEDISTILL_WEBGPU", "webgpu")
    if asked not in ("webgpu", "swiftshader"):
        raise ConfigError(f"EDGEDISTILL_WEBGPU={asked} is not known", hint="it is `swiftshader` or not set")
    return asked


def _executable() -> str:
    asked = os.environ.get("EDGEDISTILL_BROWSER")
    found = next((path for path in map(shutil.which, [asked] if asked else NAMES) if path), None)
    if found is None:
        raise DeviceError(f"EDGEDISTILL_BROWSER={asked} is not here" if asked else "no Chromium is here", hint=INSTALL)
    return found


def _execute(executable: str, flags: Sequence[str], job: Mapping[str, Any] | None, deadline_s: float) -> Ended:
    """A job in a fresh browser. A crash or a missed deadline is a result with that status, not an exception."""
    runtime = _npm.package("onnxruntime-web") / "dist"
    with _page.served(job, runtime) as (url, said), _started(executable, flags, url, said):
        try:
            return _script.read(said.get(timeout=deadline_s))
        except queue.Empty:
            return Ended(result={"status": "timeout", "detail": f"no result in {deadline_s:.0f} s"})


@contextmanager
def _started(executable: str, flags: Sequence[str], url: str, said: _page.Said) -> Iterator[None]:
    """A browser with a profile of its own, both gone afterwards. One that ends by itself says so."""
    with TemporaryDirectory(prefix="edgedistill-") as folder:
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # Chromium has no sandbox for root
        command = [*WHILE_WE_LIVE, executable, *QUIET, *flags, *root, f"--user-data-dir={folder}/profile", url]
        own = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache", "XDG_CONFIG_HOME": f"{folder}/config"}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True, env=own)
        listener = threading.Thread(target=_listen, args=(process, said), daemon=True)
        listener.start()
        try:
            yield
        finally:
            if listener.is_alive():  # else the number may be another's by now
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            listener.join(GONE_S)  # till then its processes may write into the profile


def _listen(process: subprocess.Popen[bytes], said: _page.Said) -> None:
    """Until every process of the browser has closed its stderr: all have ended."""
    assert process.stderr is not None
    words = process.stderr.read().decode(errors="replace").strip().splitlines() or ["no output"]
    process.wait()
    said.put(_page.crashed(f"the browser ended with {process.returncode}: {words[-1]}"))
