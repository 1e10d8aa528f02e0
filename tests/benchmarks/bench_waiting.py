"""Share of a training step's time in which the model waits for data: real input against one cached batch."""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.bench_reading import make_dataset
from tests.benchmarks.harness import Row


def measure(folder: Path, *, model: str = "mobilenet_v2") -> list[Row]:
    """The rows, as `fma bench-input --model` measures them."""
    command = [sys.executable, "-m", "fma", "bench-input", make_dataset(folder), "--model", model, "--json"]
    done = subprocess.run([*command, "--records", "320"], capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)["model"]
    return [
        Row(f"{model} on CPU: a training step of 32 records", facts["step_ms"], "ms"),
        Row(f"{model} on CPU: share of time waiting for data", facts["idle"], "ratio", target=0.03),
    ]
