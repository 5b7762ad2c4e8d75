"""One model in one fresh process of its own environment: what it answers to every row, or how long a row takes it. numpy and its runtime only.

    python agent.py JOB.json

A job names the `engine`, the `model` and its `threads`, and the file of `rows`, one JSON object a line with the token ids of one text. Without
`at` it answers all rows, one at a time, as one line of JSON on stdout. With `at` it is to time these rows at their natural length: it loads, warms up
until two passes agree within 2 %, says so in a line, and then waits; for every line on stdin it makes one pass and answers with a line. So whoever
started several can let them run pass by pass in turns, none disturbing another. Each row has two times: on the clock, and of the processor (all
threads of this process), which other jobs on the machine hardly change.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import numpy as np

WARM_CHANGE, WARM_MIN_S, WARM_MAX_S = 0.02, 0.3, 10.0
Feed = dict[str, np.ndarray]
Run = Callable[[Feed], np.ndarray]


def main(job_file: str) -> None:
    """Do the job, and say what came of it."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in Path(job["rows"]).read_text(encoding="utf-8").splitlines()]
    started = time.perf_counter()
    names, run = ENGINES[job["engine"]](job["model"], job["threads"])
    load_ms = (time.perf_counter() - started) * 1e3
    if "at" not in job:
        _tell(told, {"outputs": [np.asarray(run(feed(row, names)), np.float64).reshape(-1).tolist() for row in rows]})
        return
    feeds = [feed(rows[index], names) for index in job["at"]]
    _tell(told, {"load_ms": load_ms, "warmups_ms": warm_up(run, feeds)})
    for _ in sys.stdin:
        samples = [timed(run, one) for one in feeds]
        _tell(told, {"clock_ms": [one[0] for one in samples], "cpu_ms": [one[1] for one in samples]})


def _tell(stream: TextIO, found: dict[str, Any]) -> None:
    stream.write(json.dumps(found) + "\n")
    stream.flush()


def feed(row: dict[str, list[int]], names: list[str]) -> Feed:
    """The inputs that this model has, int64 [1, tokens]; what the row does not say is one text without padding."""
    ids = row["input_ids"]
    known = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": row.get("token_type_ids", [0] * len(ids))}
    return {name: np.array([known[name]], np.int64) for name in names}


def onnxruntime(model: str, threads: int) -> tuple[list[str], Run]:
    """A session as everybody opens one, but for its threads."""
    import onnxruntime as ort

    ort.set_default_logger_severity(3)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [entry.name for entry in session.get_inputs()], lambda one: session.run(None, one)[0]


def openvino(model: str, threads: int) -> tuple[list[str], Run]:
    """A compiled model with the hint for latency, one stream; its request is used again and its answer not copied.

    Its thread is not pinned: on a machine with other jobs, OpenVINO would wait for the core that it chose.
    """
    ov = import_module("openvino")
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    compiled = ov.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    return [entry.any_name for entry in compiled.inputs], lambda one: request.infer(one, share_inputs=True, share_outputs=True)[0]


ENGINES = {"onnxruntime": onnxruntime, "openvino": openvino}


def warm_up(run: Run, feeds: list[Feed]) -> list[float]:
    """Samples in ms of passes over all rows, until two in a row have medians that are close."""
    samples: list[float] = []
    medians: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < WARM_MAX_S:
        window = [timed(run, one)[0] for one in feeds]
        samples += window
        medians.append(sorted(window)[len(window) // 2])
        settled = len(medians) >= 2 and abs(medians[-1] / medians[-2] - 1) <= WARM_CHANGE
        if settled and time.perf_counter() - started >= WARM_MIN_S:
            break
    return samples


def timed(run: Run, one: Feed) -> tuple[float, float]:
    """One run in ms: on the clock, and of the processor."""
    began, started = time.process_time(), time.perf_counter()
    run(one)
    ended, spent = time.perf_counter(), time.process_time()
    return (ended - started) * 1e3, (spent - began) * 1e3


if __name__ == "__main__":
    main(sys.argv[1])
