"""Command lines that are wrong: options that nobody has, values of the wrong kind, places that are none, the same ones for the same number."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import typer.main

from edgedistill.cli import app

WILD = [
    "",
    " ",
    "-",
    "--",
    "-1",
    "0",
    "1e9",
    "nan",
    "99999999999999999999",
    "1.5",
    "a" * 300,
    "é 日本 🙂",
    "\udcff",
    "a\nb",
    "\x1b[31m",
    "%s{}",
    "=",
    "a=b=c",
    "[",
    "{",
    "'",
]
WILD += [
    "no/such/place",
    "file.txt",
    "file.txt/below",
    "folder",
    "empty",
    "loop",
    "dangling",
    "/dev/null",
    "/dev/null/below",
    "noise",
    "x=1,2",
    "linux-x64",
    "default",
    "all",
]
WILD += [
    "local",
    "local:x",
    "ssh:",
    "ssh:no.such.host.invalid",
    "adb:none",
    "qemu:",
    "qemu:z80",
    "browser:x",
    "node:x",
    "wasm",
    "show",
    "check",
    "smoke",
    "cpu",
    "fp32",
    "x.toml",
]
OPTIONS = ["--nothing", "-x", "--", "--json=1", "--=", "-é", "--help-me", "--set", "--store"]
COSTLY = {"build": ["--no-bench"], "bench": ["--mode", "smoke"]}


def commands() -> dict[tuple[str, ...], Any]:
    """Every command by its words."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {(name, below): one for below, one in inner.items()} if inner else {(name,): command}
    return found


def places(folder: Path) -> None:
    """What WILD names: a file of text, a folder, one that is empty, a link to itself, one to nothing, bytes."""
    (folder / "file.txt").write_text("some text\n", encoding="utf-8")
    (folder / "folder").mkdir()
    (folder / "folder" / "inner.txt").write_text("text\n", encoding="utf-8")
    (folder / "empty").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "noise").write_bytes(bytes(random.Random(0).randrange(256) for _ in range(500)))
    (folder / "x.toml").write_text('extends = "linux-x64"\nsummary = "x"\n', encoding="utf-8")


def words(draw: random.Random, folder: Path) -> list[str]:
    """A command with some of its own options and some of nobody's, and wild values."""
    name, command = draw.choice(sorted(commands().items(), key=lambda item: item[0]))
    options = [one for one in command.params if one.param_type_name == "option" and "--help" not in one.opts]
    found = [*name]
    for one in draw.sample(options, min(len(options), draw.choice([0, 1, 1, 2, 4]))):
        flag = draw.choice([*one.opts, *one.secondary_opts])
        value = draw.choice(WILD)
        found += [flag] if one.is_flag else draw.choice([[flag, value], [f"{flag}={value}"], [flag]])
    required = [one for one in command.params if one.required and one.param_type_name == "option"]
    for one in required if draw.random() < 0.7 else []:
        found += [one.opts[0], draw.choice(["linux-x64", *WILD])]
    found += draw.choices(WILD, k=draw.choice([0, 1, 1, 2]))
    if draw.random() < 0.15:
        found.insert(draw.randrange(1, len(found) + 1), draw.choice(OPTIONS))
    if draw.random() < 0.05:
        found[0] = draw.choice(["", "biuld", "--version=1", "-t", "é"])
    return found + COSTLY.get(found[0], [])
