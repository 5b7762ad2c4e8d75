"""What the agents add to a run: their medians against bare loops around a session's run, in turns, a fresh process each.

    python benchmarks/overhead.py [--turns 50] [--seconds 0.7] [--width 512]

The bare loops are what one would write by hand: open the session, run it for so long, take the median; one in Python for the agent, one in C for
the runner, because Python's answers are copied into arrays (30 µs here). The aim is 1.00 ± 0.02 for both. The model is a chain of eight products,
by default two thirds of a millisecond a run. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgedistill.devices import _runner, _toolchain
from edgedistill.devices.local import Local
from edgedistill.measure import agent, trust
from edgedistill.runtime import TELEMETRY_OFF

LAYERS, ROWS = 8, 32
BARE = """
import os, sys, time, statistics
os.environ.update({telemetry})
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession({model!r}, options, providers=["CPUExecutionProvider"])
feed = {{"x": np.ones(({rows}, {width}), np.float32)}}
def spend(seconds):
    took, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        session.run(None, feed)
        took.append(time.perf_counter() - started)
    return took
spend(0.5)
print(statistics.median(spend({seconds})) * 1e3)
"""
BARE_C = """
#include <time.h>
#include "ort.h"
static double now(void) {{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}}
static int ascending(const void *a, const void *b) {{ return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }}
static size_t spend(Value *x, double seconds, double *took) {{
    const char *in[] = {{"x"}}, *out[] = {{"y"}};
    size_t runs = 0;
    for (double until = now() + seconds; now() < until; runs++) {{
        Value *y = NULL;
        double started = now();
        ok(api->Run(session, NULL, in, (const Value *const *)&x, 1, out, 1, &y), "run");
        took[runs] = now() - started;
        api->ReleaseValue(y);
    }}
    return runs;
}}
int main(int count, char **words) {{
    Env *env;
    Value *x;
    int64_t dims[] = {{{rows}, {width}}};
    float *ones = room(sizeof(float) * {rows} * {width});
    double *took = room(sizeof(double) * 10000000);
    for (int i = 0; i < {rows} * {width}; i++) ones[i] = 1;
    load_runtime(words[count - 2], &env);
    open_session(env, words[count - 1], 1);
    ok(api->CreateTensorWithDataAsOrtValue(memory, ones, sizeof(float) * {rows} * {width}, dims, 2, F32, &x), "x");
    spend(x, 0.5, took);
    size_t runs = spend(x, {seconds}, took);
    qsort(took, runs, sizeof(double), ascending);
    printf("%.9g", took[runs / 2] * 1e3);
}}
"""


def chain(file: Path, width: int) -> None:
    """y = x · W · … · W with W the identity, so no number grows."""
    nodes = [
        helper.make_node("MatMul", [f"h{layer}" if layer else "x", "w"], [f"h{layer + 1}" if layer < LAYERS - 1 else "y"]) for layer in range(LAYERS)
    ]
    ins, outs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, None)] for name in "xy")
    graph = helper.make_graph(nodes, "chain", ins, outs, [numpy_helper.from_array(np.eye(width, dtype=np.float32), "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)


def timers(file: Path, width: int, seconds: float) -> dict[str, Callable[[], float]]:
    """By name, what gives a median in ms of a fresh process."""
    feeds = [{"x": {"dtype": "float32", "values": np.ones((ROWS, width), np.float32)}}]
    job: dict[str, Any] = {"model": str(file), "feeds": feeds, "provider": "CPUExecutionProvider", "threads": 1, "min_runs": 1, "min_s": seconds}
    place = _runner.Place(runner=_toolchain.runner("x86_64"), library=_toolchain.here_library())
    warm = _runner.Warm(max_passes=agent.WARM_MAX_PASSES)
    library = str(_toolchain.here_library())
    bare_c, source = file.with_name("bare"), file.with_name("bare.c")
    source.write_text(BARE_C.format(rows=ROWS, width=width, seconds=seconds), encoding="utf-8")
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-I", str(_toolchain.SOURCES), "-o", str(bare_c), str(source), "-ldl"], check=True)
    bare = BARE.format(model=str(file), telemetry=TELEMETRY_OFF, rows=ROWS, width=width, seconds=seconds)
    return {
        "bare python": lambda: _said(sys.executable, "-c", bare),
        "bare c": lambda: _said(str(bare_c), library, str(file)),
        "agent": lambda: median(Local().run(job, 120).result["samples_ms"]),
        "runner": lambda: median(_runner.execute(place, job, 120, warm=warm).result["samples_ms"]),
    }


def _said(*command: str) -> float:
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Take turns, there and back, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--width", type=int, default=512)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as folder:
        file = Path(folder) / "chain.onnx"
        chain(file, asked.width)
        ways = list(timers(file, asked.width, asked.seconds).items())
        found: dict[str, list[float]] = {name: [] for name, _ in ways}
        for turn in range(asked.turns):
            for name, time_it in ways if turn % 2 == 0 else ways[::-1]:
                found[name].append(time_it())
    pairs = {"agent": "bare python", "runner": "bare c"}
    ratios = {name: trust.ratio(np.array(found[name]), np.array(found[bare])) for name, bare in pairs.items()}
    print(json.dumps({"ratios_to_bare": ratios, "median_ms": found}, indent=1))


if __name__ == "__main__":
    main()
