"""The note that lies in a bundle: how to try it, and what an app must do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedistill import runtime
from edgedistill.spec import Inputs

READING = {
    "tokenizer.json": "Read `tokenizer.json` with a tokenizer of the Hugging Face format, cut at {cut} tokens, and feed {inputs}, one at a time.",
    "preprocessor_config.json": "Turn an image as `preprocessor_config.json` says (size, scale, mean, deviation), and feed {inputs}.",
}


def side(task: Any, folder: Path) -> str:
    """Where a bundle's texts are cut; tasks that read a text in windows cut nothing off."""
    cuts = "tokenizer.json" in task.FILES and not getattr(task, "WINDOWS", False)
    return runtime.side(task.load(folder)) if cuts else runtime.RIGHT


def usage(params: Any, inputs: Inputs, task: Any, labels: Sequence[str], tensors: Sequence[Mapping[str, Any]]) -> str:
    """The bundle's README."""
    check, scheme, facts = inputs["check"].facts, inputs["quantize"].facts["scheme"], params.target.runtime
    scores = check["scores"]
    warned = "".join(f"\nWarning: {warning}." for warning in check.get("warnings", ()))
    classes = f", classes: {', '.join(f'`{label}`' for label in labels)}" if task.CLASSES else ""
    fed = " and ".join(f"`{one['name']}` ({one['dtype']})" for one in tensors)
    paired = task.UNLABELLED.get("pair") == "" and "pair" in params.columns
    shown = '\'{"text": "some text", "pair": "another"}\'' if paired else task.SHOWN
    cut = f"the last {params.max_length}" if side(task, inputs["export"].path) == "left" else params.max_length
    reading = " ".join(READING[name].format(cut=cut, inputs=fed) for name in task.FILES)
    return f"""# {params.name} for {params.target.name}

{params.target.summary}. Scheme `{scheme}`{classes}.
On {check["n_test"]} test rows its {check["metric"]} is {scores["bundle"]:.4f}, the teacher's {scores["teacher"]:.4f}.{warned}

Here:

    edgedistill verify .
    edgedistill predict . {shown}

In an app: add `{facts.package.value}`, version {facts.min_ort.value} or newer. {reading}
The output {task.ANSWER} `golden.json` holds examples with what the model
says of them: an app whose token ids are the same, and whose answers are within its `tolerance`, is right.

`manifest.json` holds sizes, scores, the device profile and the digest of every file; `sha256sum -c SHA256SUMS` checks them without us.
"""
