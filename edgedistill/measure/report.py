"""Put a bundle and its measurements together into the one Report that every format renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edgedistill import providers
from edgedistill.bundle.reader import Bundle
from edgedistill.spec import Candidate, Curve, Measurement, Report, Subject, Verdict

TITLES = {"teacher": "fp32", "student": "fp32", "control": "the student without a teacher, fp32", "original": "fp32", "bundle": "quantised"}


def make_report(
    bundle: Bundle, bench: Mapping[str, Any] | None, steps: Sequence[Mapping[str, Any]] = (), targets: Sequence[Mapping[str, Any]] = ()
) -> Report:
    """The report on a bundle; `bench` is its `edgedistill.bench/1` document, None where it was not measured; `targets` a row for each device that
    was built for together with it.
    """
    manifest, history = bundle.manifest, bundle.document("history.json")
    measured = [Measurement(**_tuples(one)) for one in (bench or {}).get("measurements", [])]
    return Report(
        name=manifest["name"],
        target=manifest["target"],
        bundle=str(bundle.path.resolve()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=manifest["task"],
        metric=manifest["metric"],
        n_test=manifest["n_test"],
        retention=manifest["retention"],
        retention_interval=tuple(manifest["retention_interval"]),
        subjects=_subjects(manifest),
        candidates=tuple(Candidate(**candidate) for candidate in history["candidates"]),
        measurements=tuple(measured),
        curves=_curves(history["curves"], manifest["metric"]),
        verdicts=tuple(Verdict(**verdict) for verdict in manifest["verdicts"]),
        notes=_notes(bundle, history, bench),
        steps=tuple(steps),
        targets=tuple(targets) if len(targets) > 1 else (),
        graph=history["graph"],
        environment=(bench or {}).get("environment", {}),
        higher_is_better=manifest["higher_is_better"],
        baseline=bundle.baseline,
    )


def _tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


def _subjects(manifest: Mapping[str, Any]) -> tuple[Subject, ...]:
    return tuple(
        Subject(
            name=name,
            title=manifest["model"]["scheme"] if name == "bundle" else title,
            bytes=manifest["bytes"][name],
            score=manifest["scores"][name],
            interval=tuple(manifest["intervals"][name]),
            agreement=manifest["agreement"][name],
        )
        for name, title in TITLES.items()
        if name in manifest["scores"]
    )


def _curves(trainings: Mapping[str, Any], metric: str) -> tuple[Curve, ...]:
    curves = []
    for training, record in trainings.items():
        for name, points in (("loss", record["loss"]), (f"validation {metric}", record["score"])):
            curves.append(Curve(training=training, metric=name, points=tuple((float(step), float(value)) for step, value in points)))
    return tuple(curves)


def _strange(where: Mapping[str, Any], used: str, profile: Mapping[str, Any]) -> str:
    """What of the target this machine is not: its system and architecture, its provider, or the lack of features that this one may have."""
    platform, provider = profile["platform"], profile["runtime"]["provider"]["value"]
    if (where["os"], where["arch"]) != (platform["os"], platform["arch"]):
        return f"{platform['os']} on {platform['arch']}"
    if provider != used:
        return str(provider)
    return f"CPUs without {' and '.join(platform['lacks'])}" if platform["lacks"] else ""


def shares(placement: Mapping[str, Any]) -> str:
    """Who ran how much of a model, by time."""
    return ", ".join(f"{one['time_share']:.1%} of the time on {name}" for name, one in placement.items())


def _notes(bundle: Bundle, history: Mapping[str, Any], bench: Mapping[str, Any] | None) -> tuple[str, ...]:
    manifest, rate = bundle.manifest, bundle.manifest.get("unknown_rate")
    notes = [f"Inputs: {manifest['calibration']['sentence']}.", *history["notes"]] if bundle.foreign else []
    notes += (
        []
        if rate is None
        else [f"Unknown tokens on the training texts: {rate['student']:.4%} with the student's vocabulary, {rate['teacher']:.4%} with the teacher's."]
    )
    notes += [f"Forbidden on {manifest['target']}: {entry['scheme']} — {entry['why']}." for entry in history["forbidden"]]
    if bench is None:
        return (*notes, "Not measured: no latency or memory was taken. `edgedistill bench BUNDLE` does it.")
    where, used = bench["environment"], bench.get("provider", providers.CPU.name)
    if strange := _strange(where, used, manifest["profile"]):
        measured = f"Latency and memory were measured on {where['cpu']} ({where['arch']}) with {used}"
        notes.append(f"{measured}; they are no evidence about {strange}, where they are unmeasured.")
    if max(where["load_1min"], where["load_1min_after"] - 1) > 0.75 * where["cores"]:  # the measurement itself is a load of one
        notes.append(
            f"Weak: the machine was busy with other work (load {where['load_1min']} on {where['cores']} cores). Measure again when it is idle."
        )
    notes += [f"{said}."] if (said := providers.simulated(used, where["arch"])) else []
    notes += [
        f"The {name} did not run on {used} alone: {shares(placement)}."
        for name, placement in bench.get("placement", {}).items()
        if any(one["nodes"] for by, one in placement.items() if by != used)
    ]
    for name, ratio in bench["ratios"].items():
        low, high = ratio["interval"]
        spread = f"95 % interval {low:.3f} to {high:.3f}, {bench['threads']} thread(s), processes in turns"
        notes.append(f"Median latency of the {name} ÷ the {bundle.baseline}'s: {ratio['median_ratio']:.3f} ({spread}).")
    notes += [f"The {name} is not in this store and was not measured." for name in bench["absent"]]
    return tuple(notes)
