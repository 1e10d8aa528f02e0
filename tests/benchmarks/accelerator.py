"""The table of an accelerator: how fast each model's training step is fed, and what it waits for.

    python -m tests.benchmarks.accelerator                                   with JAX
    python -m tests.benchmarks.accelerator --backends jax tensorflow         with both
    python -m tests.benchmarks.accelerator --records 16 --batch-size 2 --models waveform_cnn      a try on a CPU

It makes records of default shapes, runs `fma bench-input` for each model and backend, and prints a Markdown table. What
fails is a line below it.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.__main__ import machine
from tests.trainers.synthetic import write_dataset
from trainers.models import MODELS
from trainers.training.devices import BACKENDS
from transforms.config import DatasetConfig
from transforms.runtime import console

BATCH = {"mel": 256, "raw": 128}
SHARDS = 16
WINDOWS = 5  # of a track
HEAD = (
    "| model, backend, batch | fed / alone, records/s | waits | reading | batching | parsing | transfer |\n"
    "|---|---|---|---|---|---|---|"
)


def make_dataset(folder: Path, records: int) -> str:
    """Training records of both kinds, with noise for music."""
    dataset = folder / f"noise-{records}"
    if not (dataset / "dataset.json").exists():
        console.log(f"making {records:,} records of each kind in {dataset}")
        tracks = {"training": -(-records // WINDOWS)}
        write_dataset(dataset, ("mel", "raw"), tracks=tracks, windows=WINDOWS, config=DatasetConfig(), shards=SHARDS)
    return str(dataset)


def measure(dataset: str, model: str, backend: str, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """The JSON of one `fma bench-input`, or {"error": its last line}."""
    command = [sys.executable, "-m", "fma", "bench-input", dataset, "--model", model, "--backend", backend, "--json"]
    command += ["--weights", options.yamnet] if model == "yamnet" else []
    command += ["--batch-size", str(batch), "--seconds", str(options.seconds), "--records", str(options.records)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=options.limit)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {options.limit:.0f} s"}
    if ran.returncode:
        return {"error": (ran.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(ran.stdout)


def row(found: dict[str, Any], name: str) -> str:
    """A line of the table: the input's stages up to each, records/s."""
    *stages, fed = [stage["records_per_s"] for stage in found["stages"]]
    step = found["model"]
    cells = [f"{fed:,.0f} / {step['records_per_s']:,.0f}", f"{step['idle']:.0%}", *(f"{rate:,.0f}" for rate in stages)]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> int:
    """Measure and print; 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=["jax"])
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="default: all, yamnet with --yamnet only")
    parser.add_argument("--yamnet", metavar="FILE", help="YAMNet as a .keras file")
    parser.add_argument("--records", type=int, default=2500, help="of each kind")
    parser.add_argument("--batch-size", type=int, help=f"default {BATCH}")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each stage")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one model")
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    options = parser.parse_args()
    models = options.models or [name for name in MODELS if name != "yamnet" or options.yamnet]
    dataset = make_dataset(options.folder, options.records)
    lines, errors = [], []
    for backend in options.backends:
        for model in models:
            batch = options.batch_size or BATCH[MODELS[model].kind]
            name = f"{model}, {backend}, {batch}"
            console.log(name)
            found = measure(dataset, model, backend, batch, options)
            if "error" in found:
                errors.append(f"{name}: {found['error']}")
                continue
            lines.append(row(found, f"{model} on {found['model']['device']}, {backend}, {batch}"))
    facts = machine()
    print(f"{options.records:,} records of each kind, {facts['cores']} cores ({facts['cpu']})\n\n{HEAD}")
    print("\n".join(lines + [f"\nfailed: {error}" for error in errors]))
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(main())
