"""An ingest that finds nothing new, on an FMA-shaped corpus; tests/benchmarks/bench_nothing_new.py has it full size."""

import subprocess
import sys

import pytest

from tests.benchmarks.bench_nothing_new import tracks_of, write_corpus, write_dataset

SCRIPT = (
    "import sys, fma; code = fma.main(sys.argv[1:]); "
    "heavy = {'apache_beam', 'tensorflow', 'librosa', 'pandas'} & set(sys.modules); "
    "print('imported', sorted(heavy), file=sys.stderr); sys.exit(code)"
)


@pytest.mark.parametrize("as_folder", [False, True], ids=["zip", "folder"])
def test_an_ingest_that_finds_nothing_new_imports_neither_beam_nor_anything_else_that_is_heavy(tmp_path, as_folder):
    tracks = list(tracks_of(300))
    audio = write_corpus(tmp_path, tracks, as_folder)
    write_dataset(str(tmp_path / "data"), tracks, batch=100)
    before = (tmp_path / "data" / "dataset.json").stat().st_mtime_ns
    paths = ["--audio", str(audio), "--metadata", str(tmp_path / "tracks.csv"), "--out", str(tmp_path / "data")]
    command = [sys.executable, "-c", SCRIPT, "ingest", *paths, "--subset", "large"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "imported []\n"
    assert ran.stdout.splitlines()[-1] == "nothing new, 0 new, 300 kept, 0 bytes rewritten"
    assert (tmp_path / "data" / "dataset.json").stat().st_mtime_ns == before
