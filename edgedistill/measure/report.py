"""Put a bundle and its measurements together into the one Report that every format renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edgedistill import profiles, providers, samples
from edgedistill.bundle.reader import Bundle
from edgedistill.measure import table
from edgedistill.spec import Candidate, Curve, Measurement, Report, Rung, Subject, Verdict

TITLES = {"teacher": "fp32", "student": "fp32", "control": "the student without a teacher, fp32", "original": "fp32", "bundle": "quantised"}


def make_report(
    bundle: Bundle, bench: Mapping[str, Any] | None, steps: Sequence[Mapping[str, Any]] = (), targets: Sequence[Mapping[str, Any]] = ()
) -> Report:
    """The report on a bundle; `bench` is its `edgedistill.bench/2` document, or one of version 1, None where it was not measured; `targets` a row
    for each device that was built for together with it.
    """
    manifest, history = bundle.manifest, bundle.document("history.json")
    measured = [Measurement(**_tuples(one)) for one in samples.unpacked(bench or {}).get("measurements", [])]
    return Report(
        name=manifest["name"],
        target=manifest["target"],
        bundle=str(bundle.path.resolve()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=manifest["task"],
        metric=manifest["metric"],
        n_test=manifest["n_test"],
        retention=manifest["retention"],
        retention_interval=tuple(manifest["retention_interval"]) if manifest["retention_interval"] else None,
        subjects=_subjects(manifest),
        candidates=tuple(Candidate(**candidate) for candidate in history["candidates"]),
        measurements=tuple(measured),
        curves=_curves(history["curves"], manifest["metric"]),
        verdicts=tuple(Verdict(**verdict) for verdict in manifest["verdicts"]),
        notes=_notes(bundle, history, bench),
        steps=tuple(steps),
        targets=tuple(targets) if len(targets) > 1 else (),
        graph=history["graph"],
        environment=_environment(bench),
        devices=tuple(table.rows(bench)) if bench else (),
        higher_is_better=manifest["higher_is_better"],
        baseline=bundle.baseline,
        ladder=tuple(Rung(**_tuples(one)) for one in history.get("ladder", ())),
        warnings=tuple(manifest.get("warnings", ())),  # bundles of before have none
    )


def _environment(bench: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where and under what conditions; of several devices, each by its address."""
    each: dict[str, dict[str, Any]] = {}
    for one in (bench or {}).get("devices", []):
        each.setdefault(one["device"], {}).update({name: one[name] for name in ("onnxruntime", "facts", "before", "after") if one.get(name)})
    return next(iter(each.values())) if len(each) == 1 else each


def _tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


def _subjects(manifest: Mapping[str, Any]) -> tuple[Subject, ...]:
    return tuple(
        Subject(
            name=name,
            title=manifest["model"]["scheme"] if name == "bundle" else _title(manifest, name),
            bytes=manifest["bytes"][name],
            score=manifest["scores"][name],
            interval=tuple(manifest["intervals"][name]),
            agreement=manifest["agreement"][name],
        )
        for name in TITLES
        if name in manifest["scores"]
    )


def _title(manifest: Mapping[str, Any], name: str) -> str:
    """What a model is; an original in other floats was measured as the fp32 that it was cast to."""
    cast = manifest.get("original", {}).get("numbers", {}).get("cast", "")
    return f"{cast}, measured in fp32" if cast and name == "original" else TITLES[name]


def _curves(trainings: Mapping[str, Any], metric: str) -> tuple[Curve, ...]:
    curves = []
    for training, record in trainings.items():
        for name, points in (("loss", record["loss"]), (f"validation {metric}", record["score"])):
            curves.append(Curve(training=training, metric=name, points=tuple((float(step), float(value)) for step, value in points)))
    return tuple(curves)


def _strange(where: Mapping[str, Any], used: str, profile: Mapping[str, Any]) -> str:
    """What of the target this machine is not: its system and architecture, its provider, or the lack of features that this one may have."""
    platform, wanted = profile["platform"], str(profile["runtime"]["provider"]["value"])
    if not profiles.is_of_system(platform["os"], platform["arch"], where["os"], where["arch"]):
        return f"{platform['os']} on {platform['arch']}"
    if providers.WEB.get(wanted, wanted) != used:
        return wanted
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
    notes += [f"The rung {one['name']} of the ladder is {one['note']}." for one in history.get("ladder", ()) if one["provenance"] == "unmeasured"]
    notes += [instructions(one) for one in history["candidates"] if one["status"] == "chosen" and "instructions" in one["facts"]]
    if bench is None:
        return (*notes, "No latency or memory is in this report: `edgedistill bench BUNDLE --out FOLDER` measures them and writes one with them.")
    for entry in bench["devices"]:
        notes += _device_notes(entry, manifest["profile"], bundle.baseline)
    notes += [f"The {name} is not in this store and was not measured." for name in bench["absent"]]
    return tuple(notes)


def _device_notes(entry: Mapping[str, Any], profile: Mapping[str, Any], baseline: str) -> list[str]:
    if entry["status"] != "ok":
        why = str(entry["detail"]).removeprefix(f"{entry['device']}: ")
        return [f"{entry['device']}: {entry['status']}: {why}."]
    where, used = entry["facts"], entry["provider"]
    notes = []
    if where["provenance"] == "measured" and (strange := _strange(where, used, profile)):
        measured = f"Latency and memory were measured on {where['cpu']} ({where['arch']}) with {used}"
        notes.append(f"{measured}; they are no evidence about {strange}, where they are unmeasured.")
    notes += [f"{said}."] if (said := providers.simulated(used, where["arch"])) else []
    notes += [
        f"{where['device']}: the {name} did not run on {used} alone: {shares(placed)}."
        for name, placed in entry.get("placement", {}).items()
        if any(one["nodes"] for by, one in placed.items() if by != used)
    ]
    for name, ratio in entry.get("ratios", {}).items():
        low, high = ratio["interval"]
        spread = f"{ratio['level']:.0%} interval {low:.3f} to {high:.3f}, {entry['threads']} thread(s), processes in turns"
        notes.append(f"{where['device']}: median latency of the {name} ÷ the {baseline}'s: {ratio['median_ratio']:.3f} ({spread}).")
    notes += [f"Weak, {where['device']}, the {name}: {'; '.join(one['why'])}." for name, one in entry.get("trust", {}).items() if one["why"]]
    for name, share in entry.get("instruction_ratios", {}).items():
        notes.append(f"{where['device']}, emulated: instructions of the {name} ÷ the {baseline}'s: {share:.3f}. A count is not a time.")
    return notes


PRODUCTS = {  # how an ARM core multiplies integers, by the class of instruction that a bundle has most of
    "int_matrix": "integer matrix multiplies of 32 products each",
    "int_dot": "dot products of 16 products each",
    "int_multiply": "multiplies of 8 products each: this core has no dot product, which does 16",
}


def instructions(chosen: Mapping[str, Any]) -> str:
    """Why this core takes the time that it takes: what its products are made of."""
    found = chosen["facts"]["instructions"]
    classes, fp32 = found["classes"], found["fp32"]
    total, base = sum(classes.values()), sum(fp32.values())
    share = f"{total / base:.2f} of fp32's {_millions(base)}"
    said = f"On an emulated {found['cpu']} {chosen['scheme']} takes {_millions(total)} instructions an input, {share}"
    kind = max(PRODUCTS, key=lambda name: classes[name])
    if not classes[kind]:
        return f"{said}; it multiplies no integers."
    floats = f"fp32 has {_millions(fp32['float_multiply_add'])} multiply-adds of 4"
    return f"{said}. Of them {_millions(classes[kind])} are {PRODUCTS[kind]}; {floats}. A count is not a time."


def _millions(count: float) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count:,.0f}"
