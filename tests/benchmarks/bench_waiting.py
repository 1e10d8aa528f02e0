"""Share of a training step's time in which the model waits for data: real input against one cached batch."""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.bench_reading import make_dataset
from tests.benchmarks.harness import Row, spread

SECONDS = 6
"""Of each run; `fma bench-input` makes three rounds of them, fed and alone by turns."""


def measure(folder: Path, *, model: str = "mobilenet_v2", repeats: int = 3) -> list[Row]:
    """The rows, as `fma bench-input --model` measures them."""
    command = [sys.executable, "-m", "fma", "bench-input", make_dataset(folder), "--model", model, "--json"]
    command += ["--records", "320", "--seconds", str(SECONDS)]
    found = []
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout)["model"])
    steps, shares = ([facts[key] for facts in found] for key in ("step_ms", "idle"))
    return [
        spread(f"{model} on CPU: a training step of 32 records", steps, "ms"),
        spread(f"{model} on CPU: share of time waiting for data", shares, "ratio", target=0.03),
    ]
