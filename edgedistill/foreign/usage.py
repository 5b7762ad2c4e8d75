"""The README of a foreign model's bundle: how to feed it, what was measured, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgedistill.foreign.fidelity import decibels
from edgedistill.wording import megabytes, named


def usage(manifest: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The text."""
    model, original, said = manifest["model"], manifest["original"], manifest["calibration"]["sentence"]
    left = named("fp32", {"cast_from": found["cast"]})
    how = f"quantised: scheme `{model['scheme']}`" if model["scheme"] != "fp32" else f"left in {left}, because no quantised scheme did better"
    notes = "".join(f"- {_line(note)}\n" for note in found["notes"])
    return f"""# {_line(manifest["name"])} for {manifest["target"]}

`{_line(original["file"])}` ({megabytes(original["bytes"])}), {how}, {megabytes(model["bytes"])}.

**{said[0].upper()}{said[1:]}.** No label was at hand: the numbers compare with the {found["cast"] or "fp32"} original, they do not say how good that
is.

## Feed it

In an app: add `{model["package"]}`, version {model["min_onnxruntime"]} or newer, and run `model.onnx` with `{model["provider"]}`.

| input | type | shape | drawn here as |
|---|---|---|---|
{_rows(manifest["inputs"], "shape", "why")}
| output | type | shape |
|---|---|---|
{_rows(manifest["outputs"], "shape")}
In Python:

    import numpy as np, onnxruntime as ort
    session = ort.InferenceSession("model.onnx")
    with np.load("golden.npz") as golden:        # CASE/in/INPUT and CASE/out/OUTPUT, counted in the order of the tables
        answers = session.run(None, {{entry.name: golden[f"0/in/{{at}}"] for at, entry in enumerate(session.get_inputs())}})

An app is right when its answers to the cases of `golden.npz` are within `golden.json`'s `tolerance` × `scales` of those that lie there.

## Against the original

{_fidelity(found)}
{notes}
Here: `edgedistill verify .`, `edgedistill bench . --store STORE` (latency beside the original), `edgedistill report . --format md`.
`history.json` holds every scheme that was tried and why it lost; `manifest.json` the device profile and the digest of every file, which
`sha256sum -c SHA256SUMS` checks without us.
"""


def _rows(entries: Any, *keys: str) -> str:
    return "".join("| " + " | ".join([f"`{_line(one['name'])}`", one["dtype"], *(_line(one[key]) for key in keys)]) + " |\n" for one in entries)


def _fidelity(found: Mapping[str, Any]) -> str:
    """The table of outputs, with what each was measured by."""
    rows = (
        f"| `{_line(one['output'])}` | {_said(one['agreement'], '.2%')} | {_level(one)} | {_said(one['max_abs'], '.3g')} | "
        f"{_said(one['cosine'], '.5f')} | {_said(one['close'], '.2%')} | {one['measure']}: {_line(one['why'])} |\n"
        for one in found["fidelity"]
    )
    head = "| output | agreement | SQNR | largest difference | cosine | inputs within 20 dB | what counts, and why |\n|---|---|---|---|---|---|---|\n"
    told = "`argmax`: the place of the largest value; `near`: cosine and SQNR; `equal`: the share of equal values; `items`: the share in common.\n"
    return f"{head}{''.join(rows)}\n{told}"


def _said(value: float | None, form: str) -> str:
    """A figure, or a dash where the output has none."""
    return "–" if value is None else format(value, form)


def _level(one: Mapping[str, Any]) -> str:
    """An SQNR; of what was not held against numbers there is none."""
    return "–" if one["cosine"] is None else decibels(one["sqnr_db"])


def _line(value: Any) -> str:
    """A name out of a file that may be hostile, as a table's cell."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))[:120]
    return text.replace("|", "/").replace("`", "'").replace("<", "(").replace(">", ")")
