"""A small FMA-shaped corpus here and in the bucket, and the commands that the tests run on it."""

import os
import subprocess
import sys
from pathlib import Path

import fma
from transforms import storage
from transforms.corpus.options import CorpusOptions
from transforms.corpus.writer import write_corpus
from transforms.dataset import manifest as manifests

SETTINGS = ["--n-mels", "32", "--window-frames", "32", "--features", "mel,stats", "--max-failures", "40"]


def make_corpus(folder: Path) -> None:
    """51 clips of 3 s in subsets small and medium, 8 of them broken; folders and zips."""
    options = CorpusOptions(4, "medium", clip_seconds=3, archives=True, sample_rate=22_050, channels=1)
    write_corpus(folder, options)


def upload(folder: Path, address: str) -> None:
    """Copies a folder into the bucket."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.write_bytes(storage.join(address, str(path.relative_to(folder))), path.read_bytes())


def arguments(corpus: str, out: str, subset: str, packed: bool, *more: str) -> list[str]:
    """Of `fma ingest`, from the corpus' folders or from its zips."""
    names = (f"fma_{subset}.zip", "fma_metadata.zip") if packed else ("audio", "fma_metadata")
    audio, metadata = (storage.join(corpus, name) for name in names)
    paths = ["--audio", audio, "--metadata", metadata, "--out", out]
    return ["ingest", *paths, "--subset", subset, *SETTINGS, *more]


def ingest(corpus: str, out: str, subset: str, packed: bool = False, *more: str) -> int:
    return fma.main(arguments(corpus, out, subset, packed, *more))


def digest_of(dataset: str) -> str:
    return manifests.load(dataset).digest


def start(command: list[str]) -> subprocess.Popen:
    """The command in a process of its own."""
    here = Path(__file__).resolve().parents[2]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "fma", *command], cwd=here, env=dict(os.environ), stdout=pipe, stderr=pipe, text=True
    )
