"""Damaged audio through the real decoder process: nothing may crash or hang, each file ends as records or as a reason.

    python -m tests.faults.fuzz --inputs 10000 --seed 1
    python -m tests.faults.fuzz --inputs 1500 --family containers     (m4a, ogg, wma)

prints how many files of each mutation ended how, and exits with 1 if a promise was broken.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.faults.mutations import FAMILIES, damaged_file
from transforms.audio.decoder_process import Limits
from transforms.config import DatasetConfig
from transforms.dataset.build import ShardBuilder
from transforms.dataset.generation import ShardResult
from transforms.dataset.plan import ShardPlan
from transforms.errors import REASONS
from transforms.records import deserialize, read_records
from transforms.runtime import console
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track

CONFIG = DatasetConfig(n_mels=32, window_frames=20, window_hop_frames=20)
"""Windows of half a second, all kinds."""

LIMITS = Limits(seconds=20.0, megabytes=512)
SHARD = 100
"""Files in a shard: sound and damaged ones share its decoder process and its record files."""


@dataclass
class Findings:
    """What became of the files.

    Attributes:
      outcomes: (mutation, "ingested" or a reason) -> files.
      slowest: seconds and index of the file that took longest.
      flagged: ingested ones with stretches of exact zeros.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    flagged: int = 0

    def by_outcome(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_, outcome), count in self.outcomes.items():
            found[outcome] += count
        return found


def fuzz(folder: Path, inputs: int, seed: int, family: str = "mp3") -> Findings:
    """Build shards of damaged files; AssertionError where one is not accounted for."""
    findings = Findings()
    times: list[float] = []
    builder = ShardBuilder(
        str(folder / "out"),
        "0001-fuzz",
        Vocabulary(("Rock",), ("Rock",)),
        CONFIG,
        limits=LIMITS,
        on_track=lambda _: times.append(time.monotonic()),
    )
    try:
        with console.progress("fuzz", inputs, "files") as progress:
            for start in range(0, inputs, SHARD):
                indices = range(start, min(start + SHARD, inputs))
                names, tracks = write_inputs(folder, seed, indices, family)
                times[:] = [time.monotonic()]
                result = builder.build(ShardPlan("training", start // SHARD, inputs, tuple(tracks)))
                ended = outcomes_of(folder / "out", result, findings)
                assert set(ended) == set(indices), f"lost: {sorted(set(indices) - set(ended))}, {result.error}"
                findings.outcomes.update((names[i], ended[i]) for i in indices)
                took = zip((after - before for before, after in pairwise(times)), indices, strict=True)
                findings.slowest = max(findings.slowest, *took)
                progress.update(indices.stop)
    finally:
        builder.close()
    return findings


def write_inputs(folder: Path, seed: int, indices: range, family: str) -> tuple[dict[int, str], list[Track]]:
    """Write a shard's files; return the mutations' names and the tracks."""
    names, tracks = {}, []
    for index in indices:
        path = folder / f"{index % SHARD}.mp3"
        names[index], data = damaged_file(seed, index, family)
        path.write_bytes(data)
        tracks.append(Track(index, "Rock", "training", str(path), size=len(data)))
    return names, tracks


def outcomes_of(out: Path, result: ShardResult, findings: Findings) -> dict[int, str]:
    """How each track of a shard ended; AssertionError where its records are not those that its ledger promises."""
    assert not result.error, result.error
    ended: dict[int, str] = {}
    windows: dict[int, int] = {}
    for file in result.files:
        if file.kind == "failures":
            lines = map(json.loads, (out / file.path).read_text().splitlines())
            ended |= {line["track_id"]: line["reason"] for line in lines}
        elif file.kind == "tracks":
            for line in map(json.loads, (out / file.path).read_text().splitlines()):
                ended[line["track_id"]] = "ingested"
                windows[line["track_id"]] = line["windows"]
                findings.flagged += line["zeroed_share"] > 0
    assert set(ended.values()) <= {"ingested", *REASONS}
    for file in result.files:
        if file.kind in CONFIG.features:
            with (out / file.path).open("rb") as opened:
                found = Counter(deserialize(data).track_id for data in read_records(opened, file.path))
            assert found == (Counter(windows.keys()) if file.kind == "stats" else Counter(windows)), file.path
        (out / file.path).unlink()
    return ended


def report(findings: Findings) -> None:
    """A row for each mutation, a column for each outcome."""
    columns = [outcome for outcome, _ in findings.by_outcome().most_common()]
    mutations = sorted({mutation for mutation, _ in findings.outcomes})
    rows = [(name, *(findings.outcomes[name, outcome] for outcome in columns)) for name in mutations]
    rows.append(("all", *(findings.by_outcome()[outcome] for outcome in columns)))
    console.table("", ("mutation", *columns), rows)
    seconds, index = findings.slowest
    console.say(f"{findings.flagged:,} of those ingested have stretches of exact zeros")
    console.say(f"slowest: file {index}, {seconds:.2f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", choices=FAMILIES, default="mp3")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fma-fuzz-") as folder:
        findings = fuzz(Path(folder), args.inputs, args.seed, args.family)
    report(findings)
    bad = sum(findings.by_outcome()[reason] for reason in ("timeout", "decoder_crashed", "out_of_memory"))
    console.say(f"{args.inputs:,} files, {bad} of them only ended by the limits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
