"""The command line. stdout is the answer, stderr the story; every error leaves with the exit code of its branch of the tree."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edgedistill import streams

app = typer.Typer(
    name="edgedistill",
    help="Distil a large model, quantise it, export it to ONNX for a named device, and prove it there against its teacher.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cache_app = typer.Typer(help="Look after the store of finished steps.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

Recipe = Annotated[
    str | None, typer.Argument(help="A recipe file or the name of a built-in one; without it ./recipe.toml, else `default`.", show_default=False)
]
Targets = Annotated[list[str], typer.Option("--target", "-t", help="A target's name, the path of a profile, or `all`; give it again for more.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Change a recipe key: a.b=VALUE, a TOML value.", show_default=False)]
StoreDir = Annotated[Path, typer.Option("--store", envvar="EDGEDISTILL_STORE", help="Where finished steps are kept.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
BundleDir = Annotated[Path, typer.Argument(help="A bundle's folder.")]
STORE = Path(".edgedistill")


def main() -> None:
    """Run, and turn errors into a message and an exit code."""
    signal.signal(signal.SIGTERM, _ended)
    streams.run(app)


def _ended(number: int, frame: object) -> NoReturn:
    """SIGTERM as an exit: what runs on devices is ended, and what lies there is taken away."""
    sys.exit(128 + number)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"edgedistill {version('edgedistill')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """What stands before every command."""


@app.command()
def build(
    recipe: Recipe = None,
    target: Targets = [],  # noqa: B006  typer reads the default, nobody changes it
    settings: Settings = None,
    store: StoreDir = STORE,
    as_json: Json = False,
    scheme: Annotated[str | None, typer.Option(help="Ship this quantisation scheme or none.", show_default=False)] = None,
    bench: Annotated[bool, typer.Option(help="Measure the bundle beside its teacher and write the report.")] = True,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Also send the trainings' curves to tensorboard, wandb, mlflow …; again for more.", show_default=False),
    ] = None,
) -> None:
    """Build a verified bundle for each target, from the recipe to the report."""
    from edgedistill.faces import build as face

    face.run(recipe, target, settings or [], store, as_json=as_json, bench=bench, trackers=track or [], scheme=scheme)


@app.command()
def plan(
    recipe: Recipe = None,
    target: Targets = [],  # noqa: B006
    settings: Settings = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also hold models, student and losses against each other, which needs torch: seconds.")
    ] = False,
    store: StoreDir = STORE,
    as_json: Json = False,
) -> None:
    """Print the steps of a build, with what is cached and what is to do. Nothing runs."""
    from edgedistill.faces import plan as face

    face.plan(recipe, target, settings or [], store, deep=deep, as_json=as_json)


@app.command(name="eval")
def evaluate(
    bundle: BundleDir,
    data: Annotated[str, typer.Option("--data", help="A labelled file.")],
    text: Annotated[str | None, typer.Option(help="The column of the texts; without it the recipe's.", show_default=False)] = None,
    pair: Annotated[str | None, typer.Option(help="The column of the second texts, or of the questions.", show_default=False)] = None,
    image: Annotated[str | None, typer.Option(help="The column of the images.", show_default=False)] = None,
    label: Annotated[str | None, typer.Option(help="The column of the labels.", show_default=False)] = None,
    split: Annotated[str, typer.Option(help="The split, where the data has several: of a hub data set, a saved one, a folder of images.")] = "train",
    columns: Annotated[str, typer.Option(help="The names of all columns, with commas, where the file has no header.", show_default=False)] = "",
    store: StoreDir = STORE,
    as_json: Json = False,
) -> None:
    """Score a bundle on labelled rows, beside its teacher where the store has it. Needs no torch."""
    from edgedistill.faces import bundle as face
    from edgedistill.spec import Data

    names = tuple(name.strip() for name in columns.split(",") if name.strip())
    face.evaluate(bundle, Data(source=data, text=text, pair=pair, image=image, label=label, columns=names, split=split), store, as_json=as_json)


@app.command()
def predict(
    bundle: BundleDir,
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, JSON objects or files, as the task has it; without any, one a line from standard input.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer for texts, pairs, questions or images. Needs no torch."""
    from edgedistill.faces import bundle as face

    face.predict(bundle, texts or face.lines(sys.stdin.buffer), as_json=as_json)


@app.command()
def bench(
    what: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder, or any .onnx file.")],
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", "-d", help="Where to run: local, ssh:HOST, adb:SERIAL, qemu:CPU, node, browser:wasm …; again for more. [default: local]"
        ),
    ] = None,
    mode: Annotated[str, typer.Option(help="How long: smoke, quick, full, or sustained: ten minutes in one process.")] = "quick",
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Threads of one session; again for more. [default: the target's on a device of its system, else 1]"),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Rows that are timed at once; again for more. [default: 1]")] = None,
    shape: Annotated[list[str] | None, typer.Option(help="Time a stated shape of an input: name=1,128; again for more.", show_default=False)] = None,
    provider: Annotated[
        str,
        typer.Option(help="cpu, xnnpack, openvino, qnn … (`doctor` lists them); without it the device's own.", show_default=False),
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Fail where another provider ran a single node.")] = False,
    rows: Annotated[int, typer.Option(min=0, help="Test rows that each device answers, for the score and the agreement there.")] = 256,
    out: Annotated[Path | None, typer.Option(help="Also write bench.json and the report here.", show_default=False)] = None,
    store: StoreDir = STORE,
    as_json: Json = False,
) -> None:
    """Measure latency, load time, memory and answers beside the teacher on each device, in fresh processes in turns."""
    from edgedistill.faces import bench as face
    from edgedistill.faces import sizes
    from edgedistill.measure.run import Plan

    plan = Plan(
        addresses=device or ["local"],
        mode=mode,
        threads=threads or [None],
        batches=batch or [1],
        shapes=sizes(shape or []),
        provider=provider,
        strict=strict,
    )
    face.bench(what, plan, rows, out, store, as_json=as_json)


@app.command()
def quantize(
    model: Annotated[Path, typer.Argument(help="Somebody's ONNX file; weights beside it are read too.")],
    target: Annotated[str, typer.Option("--target", "-t", help="A target's name, or the path of a profile.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle's folder: new, empty, or a bundle of quantize, which is replaced.")],
    calibration: Annotated[
        Path | None, typer.Option(help="Real inputs: .npz, a folder of .npz, .npy or .jsonl; without it made-up ones.", show_default=False)
    ] = None,
    scheme: Annotated[str | None, typer.Option(help="Only this scheme of the target's; without it the best that holds.", show_default=False)] = None,
    rows: Annotated[int, typer.Option(min=256, help="Inputs that candidates are judged on.")] = 256,
    shape: Annotated[
        list[str] | None, typer.Option(help="Sizes of an input whose graph leaves some open: name=1,3,224,224; again for more.", show_default=False)
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help="An output whose largest value is the decision, again for more, or `none`; without it guessed from the graph.", show_default=False
        ),
    ] = None,
    store: StoreDir = STORE,
    as_json: Json = False,
) -> None:
    """Quantise an ONNX model that was not built here, and bundle it. Needs no torch."""
    from edgedistill.faces import foreign as face

    face.quantize(model, target, out, calibration, scheme, rows, shape or [], classes or [], store, as_json=as_json)


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="A bundle's folder, or the bench.json of one.")],
    form: Annotated[str, typer.Option("--format", help="html, md or json.")] = "html",
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; without it the report goes to standard output.", show_default=False)
    ] = None,
) -> None:
    """Render a report for people or for CI."""
    from edgedistill.faces import bundle as face

    face.report(result, form, out)


@app.command()
def verify(bundle: BundleDir, as_json: Json = False) -> None:
    """Check every digest of a bundle, and that its model still gives the golden answers."""
    from edgedistill.faces import bundle as face

    face.verify(bundle, as_json=as_json)


@app.command()
def init(
    place: Annotated[Path, typer.Argument(help="A data file, a folder that holds one, or a folder of images for each class.")] = Path("."),
    out: Annotated[
        Path | None, typer.Option(help="The recipe to write; recipe.toml beside the data, or here for a file.", show_default=False)
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What to learn, where the file suits several tasks; without it the likeliest.", show_default=False)
    ] = None,
) -> None:
    """Look at a data file, guess its task and columns, and write a commented recipe."""
    from edgedistill.faces import init as face

    face.init(place, out, task)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has, and the command for what it lacks."""
    from edgedistill.faces import doctor as face

    face.doctor(as_json=as_json)


@app.command()
def targets(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="`show NAME` prints one, `check FILE…` validates your own; without words all are listed.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the device profiles, show one, or check your own."""
    from edgedistill.faces import targets as face

    face.run(words or [], as_json=as_json)


@app.command()
def explain(
    target: Annotated[str, typer.Argument(help="A target's name, or the path of a profile.")],
    scheme: Annotated[str, typer.Argument(help="A quantisation scheme, such as int8-static-u8s8.")],
    as_json: Json = False,
) -> None:
    """Say whether a target takes a quantisation scheme, why, and on whose word."""
    from edgedistill.faces import targets as face

    face.explain(target, scheme, as_json=as_json)


def _lister(family: str, text: str) -> None:
    def listing(
        show: Annotated[list[str] | None, typer.Argument(help="`show NAME` prints one; without it all are listed.", show_default=False)] = None,
        as_json: Json = False,
    ) -> None:
        from edgedistill.faces import lists as face

        face.show(family, show or [], as_json=as_json)

    app.command(name=family, help=text)(listing)


_lister("tasks", "List the tasks, or show one.")
_lister("losses", "List the distillation losses, or show one.")
_lister("students", "List the ways to make a student, or show one.")
_lister("devices", "List the ways to a device, or show one.")
_lister("recipes", "List the built-in recipes, or show one.")


@cache_app.command(name="ls")
def cache_list(store: StoreDir = STORE, as_json: Json = False) -> None:
    """List the finished steps."""
    from edgedistill.faces import lists as face

    face.cache_list(store, as_json=as_json)


@cache_app.command(name="gc")
def cache_collect(
    recipe: Recipe = None,
    target: Targets = [],  # noqa: B006
    settings: Settings = None,
    store: StoreDir = STORE,
) -> None:
    """Remove every step that this recipe and these targets do not need."""
    from edgedistill.faces import build as face

    face.collect(recipe, target, settings or [], store)


@cache_app.command(name="verify")
def cache_verify(store: StoreDir = STORE) -> None:
    """Check every file of the store against its receipt."""
    from edgedistill.faces import lists as face

    face.cache_verify(store)


if __name__ == "__main__":
    main()
