"""`make bench`: every benchmark, one table and one JSON file. Also `python -m tests.benchmarks ingest reading`."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import (
    bench_embed,
    bench_epochs,
    bench_front_end,
    bench_full_scale,
    bench_ingest,
    bench_nothing_new,
    bench_reading,
    bench_run,
    bench_stages,
    bench_statistics,
    bench_whole,
)
from tests.benchmarks import bench_waiting as waiting
from tests.benchmarks.harness import Row
from trainers.training.devices import import_tensorflow
from transforms.runtime import console

BENCHMARKS: dict[str, Callable[[Path], list[Row]]] = {
    "front-end": bench_front_end.measure,
    "stages": bench_stages.measure,
    "ingest": bench_ingest.measure,
    "embed": bench_embed.measure,
    "statistics": bench_statistics.measure,
    "verify-compact": bench_whole.measure,
    "nothing-new": bench_nothing_new.measure,
    "reading": bench_reading.measure,
    "waiting": waiting.measure,
    "run": bench_run.measure,
    "full-scale": bench_full_scale.measure,
    "epochs": bench_epochs.measure,
}
BY_NAME = ("embed", "run", "full-scale", "epochs")
"""Those that only run when they are named: they take long, or gigabytes of disk."""
LIBRARIES = ("numpy", "scipy", "soundfile", "soxr", "librosa", "apache-beam", "tensorflow", "keras")


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {"cpu": model, "cores": str(len(os.sched_getaffinity(0))), "python": platform.python_version()}


def table(rows: list[Row]) -> None:
    """Prints the rows."""
    verdict = {True: "met", False: "missed", None: ""}
    lines = []
    for row in rows:
        target = "" if row.target is None else f"{'at least' if row.at_least else 'at most'} {_figure(row.target)}"
        between = "" if row.low is None or row.high is None else f"{_figure(row.low)} to {_figure(row.high)}"
        lines.append((row.what, _figure(row.value), row.unit, between, target, verdict[row.kept]))
    console.table("benchmarks", ("what", "median", "unit", "10% to 90%", "target", ""), lines)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> int:
    """Runs the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all but {', '.join(BY_NAME)}"
    )
    parser.add_argument("--folder", type=Path, default=Path("bench"), help="for clips, datasets and the result")
    args = parser.parse_args()
    unknown = set(args.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    import_tensorflow()  # first, and quietly: its start-up notes are no figures
    names = args.names or [name for name in BENCHMARKS if name not in BY_NAME]
    runs = {name: partial(BENCHMARKS[name], args.folder) for name in names}
    rows: list[Row] = []
    for name, run in runs.items():
        console.log(f"benchmark {name}")
        rows += run()
    table(rows)
    result = {"machine": machine(), "versions": {name: version(name) for name in LIBRARIES}}
    path = args.folder / "bench.json"
    path.write_text(json.dumps(result | {"rows": [asdict(row) | {"kept": row.kept} for row in rows]}, indent=1) + "\n")
    console.say(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
