"""Recipes and profiles that are wrong in one to three ways, the same ones for the same number."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WILD = [  # values in TOML's own words
    *("nan", "inf", "-inf", "-1", "0", "-0.0", "1e308", "1e-320", "1.5", "9223372036854775808", "99999999999999999999999999", "true", "false", "1_0"),
    *(
        '""',
        '" "',
        '"\\u0000"',
        '"nan"',
        '"auto"',
        '"é ü 日本 🙂"',
        '"../../.."',
        '"/dev/null"',
        '"."',
        '"hub:"',
        '"hub:a/b@\\u0000"',
        '"package:"',
        '"~"',
        '"a\\nb"',
    ),
    *(
        "[]",
        "{}",
        "[[[]]]",
        '[1, "a"]',
        "[nan]",
        "[-1, -1]",
        "[[0, 0], [0, 0]]",
        '["", ""]',
        "{ a = 1 }",
        '{ "" = {} }',
        "[{}]",
        "1979-05-27T07:32:00Z",
        "07:32:00",
    ),
    *('"rows.csv"', '"folder"', '"empty"', '"loop"', '"dangling"', '"noise"', "0x7fffffff", "2147483648", "1000000000000"),
]
KEYS = ["x", '""', '"é"', '"a.b"', '"\\u0000"', '"' + "k" * 300 + '"', "seed", "name", "source", "model", "losses", "layers", "extends"]
MORE = {  # what the small recipe leaves at its defaults
    "task": '"text-classification"',
    "controls": "false",
    "data": {"separator": '","', "where": "{}", "split": '"train"', "rows": "500", "columns": "[]"},
    "transfer": {"weight": "1.0", "sentences": "false", "min_words": "1", "max_words": "256"},
    "student": {"method": '"layers"', "depth": "2", "config": "{}"},
    "augment": {"copies": "1", "drop": "0.1", "swap": "0.1", "substitute": "0.0"},
    "pretrain": {"teacher": "false", "schedule": "{ epochs = 1 }"},
    "gates": {"retention": "0.8"},
}
SOURCE = '"https://a.test"'
Tree = dict[str, Any]


def tree() -> Tree:
    """A recipe whose leaves are TOML."""
    data = {
        "source": '"rows.csv"',
        "text": '"review"',
        "label": '"verdict"',
        "test": "30",
        "validation": "30",
        "calibration": "8",
        "max_length": "24",
    }
    kl = {"weight": "0.9", "temperature": "2.0"}
    return {
        "seed": "3",
        "data": data,
        "transfer": {"source": '"more.txt"', "rows": "30"},
        "teacher": {"model": '"teacher"'},
        "teach": {"epochs": "1", "batch_size": "32", "learning_rate": "2e-3"},
        "student": {"layers": "[0, 1]", "vocabulary": "100"},
        "rounds": {"losses": {"kl": kl, "ce": {"weight": "0.1"}}, "schedule": {"epochs": "1", "dropout": "0.1"}, "confidence": "0.0"},
        "gates": {"retention": "0.8"},
    }


def text_of(found: Tree) -> str:
    """As a file."""
    plain = [f"{key} = {value}" for key, value in found.items() if not isinstance(value, dict)]
    tables = [(key, value) for key, value in found.items() if isinstance(value, dict)]
    for key, value in tables:
        plain += [f"[[{key}]]" if key == "rounds" else f"[{key}]", *(f"{name} = {_inline(one)}" for name, one in value.items())]
    return "\n".join(plain) + "\n"


def _inline(value: Any) -> str:
    return "{ " + ", ".join(f"{key} = {_inline(one)}" for key, one in value.items()) + " }" if isinstance(value, dict) else str(value)


def _places(found: Tree) -> list[tuple[Tree, str]]:
    own = [(found, key) for key in found]
    return own + [place for value in found.values() if isinstance(value, dict) for place in _places(value)]


def _replaced(found: Tree, draw: random.Random) -> None:
    table, key = draw.choice(_places(found))
    table[key] = draw.choice(WILD)


def _extended(found: Tree, draw: random.Random) -> None:
    name = draw.choice(sorted(MORE))
    more = MORE[name]
    if isinstance(more, dict):
        place = found.setdefault(name, {})
        key = draw.choice(sorted(more))
        if isinstance(place, dict):
            place[key] = draw.choice([more[key], *draw.sample(WILD, 3)])
    else:
        found[name] = draw.choice([more, *draw.sample(WILD, 2)])


def _dropped(found: Tree, draw: random.Random) -> None:
    table, key = draw.choice(_places(found))
    del table[key]


def _unknown(found: Tree, draw: random.Random) -> None:
    tables = [found, *(table[key] for table, key in _places(found) if isinstance(table[key], dict))]
    draw.choice(tables)[draw.choice(KEYS)] = draw.choice(WILD)


def _moved(found: Tree, draw: random.Random) -> None:
    """A part of the recipe where another belongs."""
    (one, key), (other, name) = draw.choice(_places(found)), draw.choice(_places(found))
    value = one[key]
    other[name] = json.loads(json.dumps(value))


CHANGES: tuple[Callable[[Tree, random.Random], None], ...] = (_replaced, _replaced, _replaced, _extended, _extended, _dropped, _unknown, _moved)


def spoilt(data: bytes, draw: random.Random) -> bytes:
    """The bytes of a file as editors, disks and copies spoil them."""
    lines, at = data.split(b"\n"), draw.randrange(len(data))
    line = draw.randrange(len(lines))
    ways: list[Callable[[], bytes]] = [
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data[:at] + b"\0" + data[at:],
        lambda: data[:at],
        lambda: data[:at] + bytes(draw.randrange(256) for _ in range(3)) + data[at:],
        lambda: data.decode("utf-8", "replace").encode("utf-16"),
        lambda: data[:at] + "é".encode("latin-1") + data[at:],
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\n", b"\r"),
        lambda: b"\n".join([*lines, lines[line]]),
        lambda: b"\n".join([*lines[:line], lines[line] * 2, *lines[line:]]),
        lambda: b"\n".join(lines[:line] + lines[line + 1 :]),
        lambda: b"",
        lambda: data * 2,
        lambda: b"[" * draw.choice([10, 5000]) + data,
        lambda: b"x = " + b"[" * 3000 + b"]" * 3000 + b"\n" + data,
        lambda: b"a." * draw.choice([50, 2000]) + b"b = 1\n" + data,
    ]
    return draw.choice(ways)()


def recipe(draw: random.Random, folder: Path) -> list[str]:
    """The words of a command whose recipe, written into the folder, is wrong."""
    found = tree()
    for _ in range(draw.choice([1, 1, 2, 3])):
        draw.choice(CHANGES)(found, draw)
    data = text_of(found).encode()
    words = ["-t", draw.choice(["linux-x64", "android-arm64", "web-wasm"])]
    if draw.random() < 0.25:
        data = spoilt(data, draw)
    if draw.random() < 0.2:
        table, key = draw.choice(_places(tree()))
        name = next((f"{outer}.{key}" for outer, inner in tree().items() if inner == table), key)
        words += [
            "--set",
            f"{draw.choice([name, name, key, '', 'rounds.0.' + key, 'rounds.7.x', name + '.x'])}={draw.choice([*WILD, '', 'bare words', '=', '['])}",
        ]
    (folder / "recipe.toml").write_bytes(data)
    return [*draw.choice([["plan"], ["plan"], ["build", "--no-bench"], ["cache", "gc"]]), *words, *draw.choice([[], ["recipe.toml"]])]


def profile(draw: random.Random, folder: Path) -> list[str]:
    """The words of a command whose device profile is wrong."""
    lines = (ROOT / "targets" / f"{draw.choice(['linux-x64', 'android-arm64', 'web-wasm'])}.toml").read_text(encoding="utf-8").splitlines()
    for _ in range(draw.choice([1, 1, 2])):
        at = draw.choice([number for number, line in enumerate(lines) if "=" in line])
        key, _, value = lines[at].partition("=")
        way = draw.randrange(5)
        if way == 0:
            lines[at] = f"{key}= {draw.choice(WILD)}"
        elif way == 1:
            lines[at] = lines[at].replace("value = ", f"value = {draw.choice(WILD)} #", 1) if "value" in value else f"{draw.choice(KEYS)} ={value}"
        elif way == 2:
            source = draw.choice([SOURCE, *WILD])
            lines[at] = f"{key}= {{ value = {draw.choice(WILD)}, source = {source} }}"
        elif way == 3:
            lines.insert(at, f"{draw.choice(KEYS)} = {draw.choice(WILD)}")
        else:
            del lines[at]
    data = "\n".join(lines).encode()
    (folder / "own.toml").write_bytes(spoilt(data, draw) if draw.random() < 0.25 else data)
    return draw.choice([["targets", "check", "own.toml"], ["plan", "-t", "own.toml", "recipe.toml"], ["explain", "own.toml", "fp16"]])
