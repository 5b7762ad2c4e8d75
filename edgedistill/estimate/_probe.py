"""Run as a process of its own: how fast this machine trains and runs small transformer layers. Prints one JSON document.

On a CPU one thread is measured by the CPU time it takes: a machine that is busy with something else is not taken for a slow one.
"""

from __future__ import annotations

import json
import time
from typing import Any

LAYERS, TOKENS = 2, 2048  # of every measurement: enough that a core is busy, little enough for seconds
SIZES = ((384, 32), (384, 128), (384, 256), (384, 512), (768, 128))  # width, tokens of a text
REPEATS = 2  # the fastest counts: whatever else runs here makes a pass slower, never faster
WEIGHTS = 8_000_000  # of a table that the optimiser is timed on


def main() -> None:
    """Measure and print."""
    import resource

    import torch
    import transformers  # noqa: F401  (its share of the memory)

    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    torch.manual_seed(0)
    torch.set_num_threads(1)
    points = [{"width": width, "tokens": tokens, **_layers(width, tokens)} for width, tokens in SIZES]
    threads = not torch.cuda.is_available()
    print(json.dumps({"points": points, "optimizer_s": _optimizer(), "base_bytes": base, "of_one_thread": threads}))


def _layers(width: int, tokens: int) -> dict[str, float]:
    """Seconds for one token in one layer: with its gradient, and without."""
    import torch

    from edgedistill.training.loop import accelerator
    from edgedistill.training.models import attend

    machine = accelerator()
    model = _encoder(width, tokens)
    attend(model, tokens)
    model = machine.prepare(model)
    inputs = torch.randn(TOKENS // tokens, tokens, width, device=machine.device)
    mask = torch.ones(TOKENS // tokens, tokens, dtype=torch.long, device=machine.device)

    def train() -> None:
        machine.backward(model(inputs_embeds=inputs, attention_mask=mask).last_hidden_state.float().mean())

    def run() -> None:
        with torch.inference_mode(), machine.autocast():
            model(inputs_embeds=inputs, attention_mask=mask)

    return {"train_s": _fastest(train) / (TOKENS * LAYERS), "run_s": _fastest(run) / (TOKENS * LAYERS)}


def _encoder(width: int, tokens: int) -> Any:
    from transformers import AutoModel, BertConfig

    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=width // 32 if width < 512 else width // 64,
        intermediate_size=4 * width,
        vocab_size=8,
        max_position_embeddings=tokens,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return AutoModel.from_config(config, attn_implementation="eager", add_pooling_layer=False).train()


def _optimizer() -> float:
    """Seconds for one weight in one step: clipping, AdamW and zeroing."""
    import torch

    weights = torch.nn.Parameter(torch.randn(WEIGHTS // 256, 256))
    optimizer = torch.optim.AdamW([weights], lr=1e-6, fused=True)

    def step() -> None:
        weights.grad = torch.ones_like(weights)
        torch.nn.utils.clip_grad_norm_([weights], 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return _fastest(step) / WEIGHTS


def _fastest(work: Any) -> float:
    import torch

    clock = time.perf_counter if torch.cuda.is_available() else time.thread_time
    times = []
    for _ in range(1 + REPEATS):  # the first pass compiles and allocates
        started = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(clock() - started)
    return min(times[1:])


if __name__ == "__main__":
    main()
