"""The report formats: numbers that agree with the report, pages that load nothing, and words instead of numbers that do not exist."""

from __future__ import annotations

import html
import json
import random
import re
import statistics
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from edgedistill import plugins, wording
from edgedistill.formats import _scatter, _statistics, _summary, _svg, _text
from edgedistill.formats._measured import measurements
from edgedistill.spec import Candidate, Curve, Measurement, Report, Rung, Subject, Verdict

FORMATS = plugins.names("formats")
assert len(FORMATS) >= 3
FOR_PEOPLE = ("html", "md")
SUBJECTS = ("teacher", "student", "control", "bundle")
CONDITIONS = {"threads": 4, "provider": "CPUExecutionProvider", "batch": 1, "tokens": 32}


def _samples(median: float, runs: int, seed: int) -> tuple[float, ...]:
    chance = random.Random(seed)
    return tuple(round(median * chance.lognormvariate(0, 0.06) + (median if chance.random() < 0.01 else 0), 4) for _ in range(runs))


def _measurements() -> tuple[Measurement, ...]:
    made: list[Measurement] = []
    for seed, (name, median) in enumerate(zip(SUBJECTS, (38.2, 6.1, 6.2, 3.4), strict=True)):
        runs = 300 if name == "teacher" else 1000
        slow_start = (3 * median, 2 * median)
        made += [
            Measurement(subject=name, metric="latency_ms", samples=_samples(median, runs, seed), warmups=slow_start, conditions=CONDITIONS),
            Measurement(subject=name, metric="load_ms", samples=_samples(9 * median, 5, seed + 10), conditions=CONDITIONS),
            Measurement(subject=name, metric="first_ms", samples=_samples(3 * median, 5, seed + 20), conditions=CONDITIONS),
            Measurement(subject=name, metric="peak_mib", samples=(60 + 12 * median,), conditions=CONDITIONS),
        ]
    return tuple(made)


def _curve(training: str, metric: str, end: float, steps: int) -> Curve:
    start, points = (2.3, 24) if "loss" in metric else (0.2, 16)
    return Curve(training=training, metric=metric, points=tuple((steps * k / points, end + (start - end) * 0.8**k) for k in range(1, points + 1)))


@pytest.fixture
def report() -> Report:
    """A student of a 77-class intent teacher, on a 64-bit Android phone; the numbers are made up, their shapes are not."""
    return Report(
        name="banking77",
        target="android-arm64",
        bundle="banking77-android-arm64-0.1.0 (sha256 5d1f8a0c)",
        created="2025-11-21T10:00:00Z",
        task="text-classification",
        metric="accuracy",
        n_test=3080,
        retention=0.9841,
        retention_interval=(0.9745, 0.9932),
        subjects=(
            Subject(name="teacher", title="BERT base, fine-tuned", bytes=438_012_345, score=0.9351, interval=(0.9263, 0.9435), agreement=1.0),
            Subject(name="student", title="6 layers, fp32", bytes=91_234_567, score=0.9247, interval=(0.915, 0.9338), agreement=0.9571),
            Subject(name="control", title="same, no teacher", bytes=91_234_567, score=0.9032, interval=(0.8925, 0.9136), agreement=0.9198),
            Subject(name="bundle", title="static-int8", bytes=23_456_789, score=0.9202, interval=(0.9104, 0.9296), agreement=0.9513),
        ),
        candidates=(
            _candidate("fp32", 91_230_000, 0.9247, 1.0, 1.0, reason="larger than the 30 MB that this target allows"),
            _candidate("dynamic-int8", 23_310_000, 0.9189, 0.9812, 0.71, reason="0.13 points below static-int8, and slower"),
            _candidate("static-int8", 23_450_000, 0.9202, 0.9854, 0.56, chosen=True, reason="the smallest that keeps 98 % of the teacher"),
            _candidate("weight-int4", 15_020_000, 0.8877, 0.9321, 1.34, reason="below the accuracy gate by 2.7 points"),
            _candidate("fp16", 45_700_000, 0.9247, 0.9997, None, reason="the CPU provider has no fp16 kernels here"),
            _candidate("int8-qat", 0, 0.0, 0.0, None, reason="the quantiser failed: ValueError: no such node"),
        ),
        measurements=_measurements(),
        curves=tuple(
            _curve(training, metric, end, steps)
            for training, score, loss, steps in (
                ("teach", 0.938, 0.21, 1500),
                ("distil round 1", 0.921, 0.12, 6000),
                ("distil round 2", 0.927, 0.05, 4000),
                ("control", 0.905, 0.34, 6000),
            )
            for metric, end in (("validation accuracy", score), ("loss", loss))
        ),
        verdicts=(
            Verdict(rule="retention", limit=0.95, value=0.9841, ok=True, sentence="The bundle keeps 98.4 % of the teacher's accuracy; 95 % asked."),
            Verdict(rule="model_mb", limit=30.0, value=23.456789, ok=True, sentence="The bundle has 23.5 MB; at most 30 MB are allowed."),
            Verdict(rule="parity", limit=0.001, value=0.000012, ok=True, sentence="fp32 ONNX differs from torch by 0.000012 at most."),
        ),
        notes=("The phone was on mains power, its screen off.",),
        steps=(
            {"stage": "prepare", "cached": True, "seconds": 4.21},
            {"stage": "teach", "cached": True, "seconds": 812.0},
            {"stage": "distil", "cached": False, "seconds": 1603.4},
            {"stage": "quantize", "cached": False, "seconds": 95.0},
        ),
        environment={"device": {"model": "Pixel 8", "soc": "Tensor G3"}, "onnxruntime": "1.23.0", "providers": ["XNNPACK", "CPU"]},
    )


def _candidate(scheme: str, size: int, score: float, agreement: float, ratio: float | None, *, chosen: bool = False, reason: str) -> Candidate:
    made = {"bytes": size, "score": score, "agreement": agreement} if size else {}
    status = "chosen" if chosen else "lost" if size else "not made"
    return Candidate(scheme=scheme, engine="onnxruntime", status=status, reason=reason, latency_ratio=ratio, **made)


def _render(name: str, report: Report) -> str:
    """The rendered text; whether a line may end before a unit is of no interest here."""
    return str(plugins.load("formats", name).render(report)).replace("\N{NO-BREAK SPACE}", " ")


def _bare(report: Report) -> Report:
    """The same report with nothing in it that can be left out."""
    nothing = dict.fromkeys(("subjects", "candidates", "measurements", "curves", "verdicts", "notes", "steps"), ())
    return replace(report, environment={}, **nothing)


class _Page(HTMLParser):
    """What a browser would see: text, tags, and everything that it would load."""

    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.loads += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "srcset", "data", "action", "poster")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("name", FORMATS)
def test_render_gives_text_when_report_is_full(name: str, report: Report) -> None:
    assert len(_render(name, report)) > 1000


@pytest.mark.parametrize("name", FORMATS)
def test_render_gives_text_when_everything_optional_is_missing(name: str, report: Report) -> None:
    assert report.name in _render(name, _bare(report))


@pytest.mark.parametrize("name", FORMATS)
def test_render_is_reproducible(name: str, report: Report) -> None:
    assert _render(name, report) == _render(name, report)


@pytest.mark.parametrize("name", FORMATS)
def test_render_survives_numbers_that_are_not_finite(name: str, report: Report) -> None:
    broken = Curve(training="teach", metric="loss", points=((1, float("nan")), (2, float("inf"))))
    teacher = replace(report.subjects[0], score=float("nan"), interval=(float("nan"), float("nan")))
    _render(name, replace(report, curves=(broken,), retention=float("nan"), subjects=(teacher, *report.subjects[1:])))


def test_json_holds_every_number_of_the_report(report: Report) -> None:
    document = json.loads(_render("json", report))
    assert document["schema"] == "edgedistill.report/2"
    assert document["retention"] == 0.9841
    assert document["subjects"][3]["bytes"] == 23_456_789
    assert document["candidates"][4]["latency_ratio"] is None
    assert [len(one["samples"]) for one in document["measurements"][:5]] == [300, 5, 5, 1, 1000]
    assert document["measurements"][0]["samples"] == list(report.measurements[0].samples)
    assert document["curves"][0]["points"][-1] == list(report.curves[0].points[-1])


def test_json_is_standard_when_a_number_is_nan(report: Report) -> None:
    assert json.loads(_render("json", replace(report, retention=float("nan"))))["retention"] is None


@pytest.mark.parametrize("at", [50, 90, 95, 99])
def test_percentile_agrees_with_numpy(at: int) -> None:
    samples = _samples(7.0, 700, seed=3)
    assert _statistics.percentile(samples, at) == pytest.approx(float(np.percentile(samples, at)))


@pytest.mark.parametrize(("at", "needed"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_percentile_is_given_from_its_number_of_runs_on(at: int, needed: int) -> None:
    assert _statistics.percentile((1.0,) * (needed - 1), at) is None
    assert _statistics.percentile((1.0,) * needed, at) == 1.0


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_shows_medians_and_ratio_of_the_raw_samples(name: str, report: Report) -> None:
    medians = {one.subject: statistics.median(one.samples) for one in report.measurements if one.metric == "latency_ms"}
    page = _render(name, report)
    assert f"{medians['teacher']:.1f} ms" in page
    assert f"{medians['bundle']:.2f} ms" in page
    assert f"{medians['bundle'] / medians['teacher']:.3f} × its latency" in page


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_withholds_p99_when_runs_are_few(name: str, report: Report) -> None:
    teacher_only = replace(report, measurements=report.measurements[:1])
    assert "n/a (needs 662 runs)" in _render(name, teacher_only)
    assert "n/a (needs 130 runs)" not in _render(name, teacher_only)


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_says_not_measured_when_measurements_are_missing(name: str, report: Report) -> None:
    page = _render(name, replace(report, measurements=()))
    assert "not measured" in page
    assert "its latency was not measured against the teacher" in page
    assert not re.search(r"\b0(\.0+)? (ms|MiB)", page)


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_marks_emulated_numbers_and_draws_no_ratio_from_them(name: str, report: Report) -> None:
    emulated = tuple(replace(one, provenance="emulated") if one.subject == "bundle" else one for one in report.measurements)
    page = _render(name, replace(report, measurements=emulated))
    assert "ms (emulated)" in page
    assert "× its latency" not in page
    assert "particulars" in page


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_shows_each_rung_of_the_ladder_with_what_it_decides_otherwise(name: str, report: Report) -> None:
    differing = ({"example": 1041, "off": 0.5, "margin": 0.25}, {"example": 7, "off": 0.25, "margin": None})
    held = {"against": "this machine (avx_vnni)", "provenance": "emulated", "rows": 256, "agreement_limit": 0.99, "max_abs_limit": 0.1}
    rungs = (
        Rung(name="cortex-a53", max_abs=0.034, agreement=1.0, holds=True, **held),  # type: ignore[arg-type]
        Rung(name="haswell", max_abs=8.0, agreement=0.90234, holds=False, differing=differing, **held),  # type: ignore[arg-type]
        Rung(name="i8mm", against="this machine", provenance="unmeasured", note="unmeasured: qemu-aarch64 is not here"),
    )
    page = " ".join("".join(_Page(_render(name, replace(report, ladder=rungs))).words).replace("\\", "").split())
    for words in ("cortex-a53 (emulated)", "0.034", "90.2 %", "✗ fails", "1041 (0.25), 7", "qemu-aarch64 is not here", "256"):
        assert words in page
    assert "step by step" in "".join(_Page(_render(name, report)).words)


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_column_is_called_instructions_when_they_were_counted(name: str, report: Report) -> None:
    counted = tuple(replace(one, latency="emulated") if one.latency_ratio else one for one in report.candidates)
    assert "instructions ÷ fp32" in _render(name, replace(report, candidates=counted))
    assert "instructions" not in _render(name, report)


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_names_every_subject_candidate_reason_gate_step_and_note(name: str, report: Report) -> None:
    page = "".join(_Page(_render(name, report)).words).replace("\\", "")
    expected = [one.title for one in report.subjects] + [one.reason for one in report.candidates] + [one.sentence for one in report.verdicts]
    for words in (*expected, *(str(one["stage"]) for one in report.steps), *report.notes, "device.soc", "Tensor G3"):
        assert words in page


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_shows_no_zero_when_a_candidate_could_not_be_made(name: str, report: Report) -> None:
    page = _render(name, report)
    assert "not made" in page
    assert "0.00 MB" not in page
    assert page.count("int8-qat") == 1


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_headline_counts_failures_and_quotes_them(name: str, report: Report) -> None:
    failed = replace(report.verdicts[1], ok=False, sentence="The bundle has 31 MB; at most 30 MB are allowed.")
    page = _render(name, replace(report, verdicts=(report.verdicts[0], failed)))
    assert "1 of 2 gates does not hold: the bundle keeps 98.4 %" in page
    assert page.count(failed.sentence) == 2


def test_headline_is_one_plain_sentence_when_every_gate_holds(report: Report) -> None:
    latencies = (Measurement(subject="teacher", metric="latency_ms", samples=(20.0,) * 11),)
    latencies += (Measurement(subject="bundle", metric="latency_ms", samples=(1.8,) * 11),)
    sentence = "Every gate holds: the bundle keeps 98.4 % of the teacher's accuracy at 5.4 % of its bytes and 0.090 × its latency."
    assert _summary.headline(replace(report, measurements=latencies)) == sentence


GONE = {"device": "ssh:gone", "subject": "", "status": "unmeasured", "detail": "ssh:gone: nobody answers"}
LOCAL = {"device": "local", "subject": "bundle", "status": "ok", "detail": "", "latency_ms": 1.5, "instructions": 37_450}


@pytest.mark.parametrize("name", FORMATS)
def test_headline_says_how_many_devices_gave_no_figures(name: str, report: Report) -> None:
    page = _render(name, replace(report, devices=(LOCAL, GONE)))
    assert "Every gate holds, but 1 of 2 devices gave no figures: the bundle keeps" in page
    assert "but" not in _summary.headline(replace(report, devices=(LOCAL,)))


def test_headline_tells_a_device_that_gave_some_figures_from_one_that_gave_none(report: Report) -> None:
    partly = {**GONE, "device": "local", "status": "timeout"}
    said = _summary.headline(replace(report, devices=(LOCAL, partly, GONE)))
    assert said.startswith("Every gate holds, but 1 of 2 devices gave no figures and 1 of 2 devices gave only some: ")


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_shows_of_each_device_what_is_known_of_one(name: str, report: Report) -> None:
    page = " ".join(_Page(_render(name, replace(report, devices=(LOCAL, GONE)))).words)
    assert "ssh:gone: unmeasured: nobody answers" in page
    assert "37,450" in page
    assert "agrees with this machine" not in page
    assert page.count("nobody answers") == 2


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_tells_measurements_of_several_devices_apart(name: str, report: Report) -> None:
    places = ({"device": "local", "cpu": "a CPU"}, {"device": "browser:wasm", "cpu": "another CPU"})
    first = report.measurements[0]
    some = tuple(replace(first, conditions={**CONDITIONS, **place}, note="real texts") for place in places)
    table = measurements(replace(report, measurements=some))
    assert table.columns[0] == "device"
    assert [row[0] for row in table.rows] == ["local", "browser:wasm"]
    assert "particulars" not in table.columns
    for words in ("On local: cpu a CPU.", "On browser:wasm: cpu another CPU.", "latency_ms: real texts."):
        assert words in table.note
        assert words in _render(name, replace(report, measurements=some))


def test_page_speaks_of_no_student_and_no_validation_rows_when_the_model_is_foreign(report: Report) -> None:
    original = replace(report.subjects[0], name="original", title="fp32", bytes=11_600)
    bundle = replace(report.subjects[3], bytes=4_306)
    tried = tuple(replace(one, bytes=one.bytes and one.bytes // 10_000) for one in report.candidates)
    latencies = tuple(replace(one, subject="original") for one in report.measurements if one.subject == "teacher")
    foreign = replace(report, baseline="original", subjects=(original, bundle), candidates=tried, measurements=latencies, curves=())
    page = "".join(_Page(_render("html", foreign)).words)
    assert "scored on inputs that did not calibrate" in page
    assert "the original's × its ratio" in page
    assert "4.31 kB" in page
    assert "size in kB" in page
    for words in ("validation", "student", "test rows"):
        assert words not in page


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (4_306, "4.31 kB"), (99_900, "99.9 kB"), (100_000, "0.100 MB"), (23_456_789, "23.5 MB")]
)
def test_megabytes_are_kilobytes_below_a_tenth(size: int, shown: str) -> None:
    assert wording.megabytes(size) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(37_450, "37,450"), (999_999, "999,999"), (12_345_678, "12.3 million"), (3_210_000_000, "3.21 billion")]
)
def test_count_is_in_millions_when_there_are_any(number: float, shown: str) -> None:
    assert _text.count(number) == shown


@pytest.mark.parametrize(("place", "side"), [(0.0054, "left"), (0.9, "center"), (124.0, "right")])
def test_median_of_single_runs_stands_inside_the_plot_when_it_is_at_an_end(place: float, side: str) -> None:
    """A label around its middle would stick out there, on the left into the row's name."""
    _, plot = _svg.axes()
    _svg.log_x(plot, 0.0044, 143.0, "ms")
    assert _svg.inward(plot, place) == side


def test_label_keeps_off_the_line_of_the_best_when_there_is_room() -> None:
    best = [(0.0, 0.0), (50.0, 40.0)]
    assert _scatter._stairs(best) == [(0.0, -1.5, 50.0, 1.5), (48.5, 0.0, 51.5, 40.0)]
    dx, dy = _scatter._free_place(0, 0, 4, _scatter._stairs(best), [], (-200, -200, 200, 200))
    box = _scatter._box(dx, dy, 4, dx)
    assert sum(_scatter._overlap(box, stair) for stair in _scatter._stairs(best)) == 0


def test_headline_says_so_when_no_gate_was_checked(report: Report) -> None:
    assert _summary.headline(replace(report, verdicts=())).startswith("No gate was checked: ")


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.5, "1,234"), (38.21, "38.2"), (0.091234, "0.0912"), (0.0, "0.00"), (9.999, "10.0"), (float("inf"), "n/a")]
)
def test_significant_keeps_three_digits(value: float, shown: str) -> None:
    assert wording.significant(value) == shown


def test_html_is_balanced_and_loads_nothing(report: Report) -> None:
    page = _render("html", report)
    parsed = _Page(page)
    assert parsed.open == []
    assert all(load.startswith("#") for load in parsed.loads)
    assert not {"script", "link", "iframe", "img", "object", "embed"} & set(parsed.tags)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_html_charts_are_well_formed_with_unique_ids(report: Report) -> None:
    page = _render("html", report)
    drawn = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawn) == 5
    for chart in drawn:
        root = ElementTree.fromstring(chart)
        assert "viewBox" in root.attrib
        assert not {"width", "height"} & set(root.attrib)
    ids = _Page(page).ids
    assert len(ids) > 20
    assert len(set(ids)) == len(ids)
    assert all(f'id="{target}"' in page for target in re.findall(r'(?:url\(|href=")#([^)"]+)', page))


def test_html_labels_every_candidate_in_the_size_chart(report: Report) -> None:
    chart = re.findall(r"<svg.*?</svg>", _render("html", report), flags=re.DOTALL)[0]
    words = {"".join(node.itertext()).strip() for node in ElementTree.fromstring(chart).iter("{http://www.w3.org/2000/svg}text")}
    assert {"teacher", "student", "control", "bundle (static-int8)", "fp32", "dynamic-int8", "weight-int4", "fp16"} <= words


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_page_shows_a_hostile_name_as_text(name: str, report: Report) -> None:
    hostile = "<script>alert('$x$ | y')</script>"
    subjects = (*report.subjects, replace(report.subjects[1], name=hostile, title=hostile, bytes=50_000_000))
    candidates = (*report.candidates, replace(report.candidates[0], scheme=hostile, reason=hostile, bytes=60_000_000))
    curves = (*report.curves, replace(report.curves[0], training=hostile, metric=hostile))
    page = _render(name, replace(report, name=hostile, subjects=subjects, candidates=candidates, curves=curves, notes=(hostile,)))
    assert "<script" not in page
    assert "script" not in _Page(page).tags
    assert "&lt;script&gt;" in page


def test_md_tables_have_as_many_cells_as_columns(report: Report) -> None:
    hostile = replace(report.candidates[0], reason="a | b\nc")
    page = _render("md", replace(report, candidates=(hostile,)))
    tables = re.findall(r"(?:^\|.*\n?)+", page, flags=re.MULTILINE)
    assert len(tables) >= 6
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_html_names_the_package_when_a_library_is_missing(library: str) -> None:
    script = f"import sys; sys.modules[{library!r}] = None; from edgedistill.formats import html; html.render(None)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert f"ConfigError: the HTML report, unlike md and json, needs the package '{library}'\nhint: pip install {library}\n" in ended.stderr


@pytest.mark.parametrize("name", FORMATS)
def test_importing_a_format_loads_no_heavy_library(name: str) -> None:
    script = f"import sys, edgedistill.formats.{name}; sys.exit(bool({{'matplotlib', 'jinja2', 'numpy', 'torch'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_html_leaves_matplotlib_settings_as_they_were(report: Report) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    _render("html", report)
    assert dict(mpl.rcParams) == before


def test_pareto_front_holds_what_nothing_beats() -> None:
    """By hand: b is dearer and worse than a; d costs what c costs and scores less."""
    rows = (("a", 1, 0.8), ("b", 2, 0.7), ("c", 3, 0.9), ("d", 3, 0.85))
    points = [_scatter.Point(label=label, cost=cost, score=score) for label, cost, score in rows]
    assert [one.label for one in _scatter.front(points, higher=True)] == ["a", "c"]
    assert [one.label for one in _scatter.front(points, higher=False)] == ["a", "b"]


@pytest.mark.parametrize("form", ["html", "md", "json"])
def test_report_begins_with_the_warning_when_retention_is_undefined(report: Report, form: str) -> None:
    warning = "the teacher is no better than always answering bad: retention is undefined"
    verdict = replace(report.verdicts[0], value=None, ok=False, sentence="retention is undefined")
    bare = replace(report, retention=None, retention_interval=None, warnings=(warning,), verdicts=(verdict, *report.verdicts[1:]))
    shown = _render(form, bare)
    if form == "json":
        document = json.loads(shown)
        assert (document["retention"], document["retention_interval"], document["verdicts"][0]["value"]) == (None, None, None)
        assert document["warnings"] == [warning]
        assert document["headline"].startswith(f"T{warning[1:]}. 1 of 3 gates does not hold: the bundle's accuracy is 92.0 % at ")
    else:
        assert f"T{warning[1:]}. 1 of 3 gates does not hold: the bundle's accuracy is 92.0" in html.unescape(shown).replace("\N{NO-BREAK SPACE}", " ")
        assert "undefined" in shown
        assert "98.4 %" not in html.unescape(shown).replace("\N{NO-BREAK SPACE}", " ")
