"""Packages from npm's registry are whole and what was pinned, or not there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgedistill.devices import _npm
from edgedistill.errors import DeviceError, IntegrityError

NAME = "onnxruntime-common"  # the smallest
pytestmark = [pytest.mark.node, pytest.mark.skipif(not shutil.which("npm"), reason="npm is not here")]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEDISTILL_TOOLS", str(tmp_path / "tools"))
    return tmp_path / "tools"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on port 9, and nothing was fetched before."""
    settings = {"registry": "http://127.0.0.1:9", "cache": str(tmp_path / "cache"), "fetch_retries": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(f"npm_config_{name}", value)


def test_only_what_runs_here_is_kept_when_a_package_comes(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = fetched()
    assert (place / "dist" / "cjs" / "index.js").is_file()
    assert not (place / "lib").exists()
    assert not list(place.rglob("*.map"))
    assert [folder.name for folder in tools.iterdir()] == [place.parent.parent.name]
    monkeypatch.setenv("PATH", "/nowhere")  # no npm: it is not asked again
    assert _npm.package(NAME) == place


def test_nothing_is_kept_when_the_digest_differs(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched()
    shutil.rmtree(tools)
    monkeypatch.setitem(_npm.PACKAGES, NAME, replace(_npm.PACKAGES[NAME], sha512=_npm.PACKAGES["onnxruntime-web"].sha512))
    with pytest.raises(IntegrityError, match="is not the release that was pinned") as caught:
        _npm.package(NAME)
    assert caught.value.exit_code == 6
    assert list(tools.iterdir()) == []


@pytest.mark.usefixtures("offline")
def test_error_repeats_the_command_when_the_registry_is_not_there(tools: Path) -> None:
    with pytest.raises(DeviceError, match="could not be fetched: npm error code ECONNREFUSED") as caught:
        _npm.package(NAME)
    assert caught.value.hint == f"npm pack {NAME}@{_npm.PACKAGES[NAME].version}"
    assert list(tools.iterdir()) == []


def test_error_names_the_command_when_npm_is_missing(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="apt-get install nodejs npm"):
        _npm.package(NAME)
    assert list(tools.iterdir()) == []


def fetched() -> Path:
    try:
        return _npm.package(NAME)
    except DeviceError as error:
        pytest.skip(str(error))
