"""Time and memory of `fma baselines --labels all` on the genres of all of FMA's tracks.

    python -m tests.benchmarks.genres fma_tracks_genres.csv.xz genres.csv
    python -m tests.benchmarks.genres fma_tracks_genres.csv.xz genres.csv --tracks 10000       a try

The genres and their tree are FMA's. The 518 columns are noise that correlates and shifts with each genre, and
the splits are drawn 8:1:1. Peak memory is that of the process so far.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from trainers.classical.many_genres import fit_models
from trainers.classical.one_vs_rest import MODELS
from trainers.classical.table import Table
from trainers.data.targets import MIN_TRACKS, Targets, choose_genres, parents_of
from trainers.runs.directory import BASELINES, RunConfig, create_run
from transforms.catalog.genre_tables import read_fma_genres
from transforms.fma_statistics import COLUMNS
from transforms.runtime import console, cores
from transforms.tracks import Track

HIDDEN = 80  # that the columns have in common


def make_table(tracks_csv: Path, genres_csv: Path, count: int | None, rng: np.random.Generator) -> Table:
    """FMA's genres of some tracks, or of all, with columns that depend on them."""
    with genres_csv.open("rb") as file:
        taxonomy, titles_in = read_fma_genres(file, str(genres_csv))
    read = pd.read_csv(tracks_csv, dtype=str, keep_default_na=False).head(count or sys.maxsize)
    splits = rng.choice(["training", "validation", "test"], len(read), p=[0.8, 0.1, 0.1]).tolist()
    tracks = []
    for track_id, genres, split in zip(read.track_id, read.genres, splits, strict=True):
        names = taxonomy.close(titles_in({"genre": "", "genres": genres}, f"track {track_id}"))
        tracks.append(Track(int(track_id), taxonomy.top(names), split, genres=names))
    targets = Targets.of(tracks, choose_genres(tracks, sorted(taxonomy.parents), MIN_TRACKS))
    truth, columns = targets.truth, len(COLUMNS)
    mixed = rng.standard_normal((HIDDEN, columns), np.float32) * np.geomspace(1, 0.1, HIDDEN, dtype=np.float32)[:, None]
    shifts = (
        0.5 * rng.standard_normal((truth.shape[1], columns), np.float32) * (rng.random((truth.shape[1], columns)) < 0.1)
    )
    values = rng.standard_normal((len(truth), HIDDEN), np.float32) @ mixed
    values += 0.3 * rng.standard_normal(values.shape, np.float32) + truth.astype(np.float32) @ shifts.astype(np.float32)
    return Table(
        name="benchmark",
        digest="",
        track_ids=targets.track_id,
        values=values,
        columns=tuple("/".join(column) for column in COLUMNS),
        labels=truth,
        genres=targets.genres,
        splits=targets.splits,
        artists=np.full(len(truth), ""),
        parents=parents_of(targets.genres, taxonomy.parents),
    )


def main() -> int:
    """Fit each model in turn and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracks", type=Path, help="a csv with track_id and genres, lists of ids")
    parser.add_argument("genres", type=Path, help="FMA's genres.csv")
    parser.add_argument("--tracks", dest="count", type=int, metavar="N", help="take the first N; default all")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    args = parser.parse_args()
    table = make_table(args.tracks, args.genres, args.count, np.random.default_rng(0))
    training, genres = len(table.rows("training")), len(table.genres)
    console.say(f"{len(table.track_ids):,} tracks, {training:,} of training, {genres} genres, {cores()} cores")
    rows = []
    for model in args.models:
        with tempfile.TemporaryDirectory(prefix="fma-bench-") as run:
            dataset = {"path": "", "digest": "", "config": {}}
            create_run(run, RunConfig(BASELINES, {}, 0, dataset, table.genres, [], {}, table.parents))  # type: ignore[arg-type]
            start, used = time.monotonic(), time.process_time()
            found = fit_models(run, table, [model], ["all"], refit=False, seed=0, threads=cores())["models"][model]
            seconds, cpu = time.monotonic() - start, time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        scores = found["per_track"]
        numbers = (f"{peak:.1f} GiB", f"{cpu / 60:.1f} min", f"{seconds / 60:.1f} min")
        rows.append((model, *numbers, f"{scores['map_macro']:.3f}", f"{scores['prior']['map_macro']:.3f}"))
        console.log(" ".join(rows[-1]))
    console.table("baselines", ("model", "peak", "CPU", "time", "macro mAP", "prior's"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
