"""Rows that are ragged, in another encoding or of no sense, the same ones for the same number."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

from bad_recipes import spoilt


def _lines(draw: random.Random) -> list[str]:
    words = ["sunny", "gloomy", "table", "film", "day", "very", "quite"]
    count = draw.choice([0, 1, 2, 40, 40, 200])
    return [
        "review,verdict",
        *(f"{' '.join(draw.choices(words, k=5))} {number},{draw.choice(['positive', 'negative', 'neutral'])}" for number in range(count)),
    ]


ROWS: list[Callable[[list[str], random.Random, int], str]] = [  # what stands in the place of a line, its end included
    lambda lines, draw, at: lines[at] + ",more,and more\n",
    lambda lines, draw, at: lines[at].split(",")[0] + "\n",
    lambda lines, draw, at: '"' + lines[at] + "\n",
    lambda lines, draw, at: lines[at].replace(",", '",', 1) + "\n",
    lambda lines, draw, at: 'a "quoted" word,"positive"x\n',
    lambda lines, draw, at: "\n\n \n" + lines[at] + "\n",
    lambda lines, draw, at: "a" * draw.choice([70_000, 140_000, 2_000_000]) + ",positive\n",
    lambda lines, draw, at: "x\0y,positive\n",
    lambda lines, draw, at: ",positive\n",
    lambda lines, draw, at: "text,\n",
    lambda lines, draw, at: ",\n",
    lambda lines, draw, at: lines[at] + "\r",
    lambda lines, draw, at: lines[at].replace(",", ";") + "\n",
    lambda lines, draw, at: lines[at].replace(",", "\t") + "\n",
    lambda lines, draw, at: "one of its own,lonely\n",
    lambda lines, draw, at: "\u202e\u0000\u001b[31m red,pos\u0301itive\n",
    lambda lines, draw, at: "review,verdict\n",
    lambda lines, draw, at: '"a\nb\nc","posi\ntive"\n',
    lambda lines, draw, at: f"a number,{draw.choice(['nan', '1e999', '-0', '007', 'TRUE', 'null', '1,5', '٣'])}\n",
]
HEADERS = [
    "",
    ",",
    "review",
    "review,review",
    "verdict,review",
    "Review , Verdict",
    '"review,verdict',
    "review;verdict",
    "\ufeffreview,verdict",
    "a,b,c,d",
    "text,label",
    "review,verdict,",
]
JSONL = [
    '{"review": "a", "verdict": "b"}',
    '{"review": 1, "verdict": 2}',
    '{"review": null}',
    "[1, 2]",
    "nul",
    '{"review": NaN, "verdict": Infinity}',
    "{",
    '"x"',
]
JSONL += [
    '{"review": "\\ud800", "verdict": "b"}',
    '{"review": {"a": []}, "verdict": ["x"]}',
    '{"a": 1, "a": 2}',
    "[" * 3000,
    "1" + "0" * 5000,
    '{"review": "x", "verdict": true}',
]


def rows(draw: random.Random, folder: Path, bundle: Path) -> list[str]:
    """The words of a command that reads rows."""
    lines = _lines(draw)
    if draw.random() < 0.3:
        lines[0] = draw.choice(HEADERS)
    if draw.random() < 0.1:
        lines = [line.rsplit(",", 1)[0] + ",same" for line in lines]
    parts = [line + "\n" for line in lines]
    for _ in range(draw.choice([0, 1, 2, 4])):
        at = draw.randrange(len(lines))
        parts[at] = draw.choice(ROWS)(lines, draw, at)
    data, name = "".join(parts).encode(), draw.choice(["rows.csv"] * 4 + ["rows.tsv", "rows.txt", "rows.parquet", "rows.json", "rows"])
    if draw.random() < 0.2:
        data, name = "\n".join(draw.choices(JSONL, k=draw.choice([1, 3, 30]))).encode(), draw.choice(["rows.jsonl", "rows.json"])
    if data and draw.random() < 0.3:
        data = spoilt(data, draw)
    if draw.random() < 0.1:
        data, name = draw.choice([gzip.compress(data), gzip.compress(data)[:-9], data]), name + ".gz"
    (folder / name).write_bytes(data)
    asked = ["--data", name, *draw.choice([["--text", "review", "--label", "verdict"], [], ["--columns", "review,verdict"], ["--text", "nothing"]])]
    source = [f"data.source={json.dumps(name)}", f"data.validation={draw.choice([10, 0.1])}", f"data.test={draw.choice([10, 0.2])}"]
    settings = [word for one in source for word in ("--set", one)]
    build = ["build", "-t", "linux-x64", "--no-bench", *settings, *draw.choice([[], ["--set", f'task="{draw.choice(TASKS)}"']])]
    if draw.random() < 0.15:
        (folder / "stdin").write_bytes(data)
        return ["predict", str(bundle), *draw.choice([[], [], ["--json"]])]
    return draw.choice([build, build, ["init", name], ["init", ".", "--task", draw.choice(TASKS)], ["eval", str(bundle), *asked]])


TASKS = [
    "text-classification",
    "text-regression",
    "token-classification",
    "multi-label-classification",
    "question-answering",
    "masked-language-modeling",
]
