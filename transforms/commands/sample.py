"""`fma sample`: an FMA-shaped synthetic corpus, made of real mp3 files, for a first look and for the tests."""

import argparse
from collections import Counter

from transforms import storage
from transforms.audio.mp3 import BITRATES
from transforms.corpus.options import SUBSETS, CorpusOptions, validate
from transforms.corpus.writer import CorpusSummary, write_corpus
from transforms.errors import UsageError
from transforms.runtime import cores
from transforms.runtime.console import human_bytes, say, table
from transforms.runtime.invocation import called_as, command_line
from transforms.tracks import SPLITS

DEFAULT_MAX_FAILURES = 5.0  # percent, of fma ingest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fma sample`."""
    defaults = CorpusOptions()
    parser.description = (
        "Writes an FMA-shaped synthetic corpus: mp3 files of 8 genres that sound different (Jazz joins in medium), "
        "fma_metadata tables, artist-disjoint splits, and files broken as some of FMA's are. "
        "Equal options give equal bytes; a corpus that is there already is left as it is."
    )
    parser.epilog = f"example: {called_as()} sample --out corpus"
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    numbers = (
        ("--tracks-per-genre", defaults.tracks_per_genre, "intact tracks of each of the 8 genres in subset small"),
        ("--several", defaults.several, "tracks of two genres each, for each genre, in subset large"),
        ("--clip-seconds", defaults.clip_seconds, "length of a clip"),
        ("--seed", defaults.seed, "another seed gives other music"),
        ("--bitrate", defaults.bitrate, f"kb/s, constant: {', '.join(map(str, BITRATES))}"),
        ("--sample-rate", defaults.sample_rate, "Hz, of most clips"),
        ("--channels", defaults.channels, "1 or 2, of most clips"),
    )
    for name, default, text in numbers:
        parser.add_argument(name, type=int, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    parser.add_argument(
        "--subset", choices=SUBSETS, default=defaults.subset, help="the largest to write (default: %(default)s)"
    )
    parser.add_argument(
        "--broken", action=argparse.BooleanOptionalAction, default=True, help="add 8 broken files (default: yes)"
    )
    parser.add_argument("--song-durations", action="store_true", help="declare whole songs' lengths, as FMA does")
    parser.add_argument("--zip", action="store_true", help="also pack fma_small.zip, fma_medium.zip, fma_metadata.zip")
    parser.add_argument("--jobs", type=int, metavar="N", help="clips made at a time (default: one for each core)")


def run(args: argparse.Namespace) -> int:
    """Write the corpus; print what it holds and the command that comes next."""
    names = CorpusOptions().to_json().keys() - {"archives"}
    if args.jobs is not None and args.jobs < 1:
        raise UsageError("--jobs must be at least 1")
    options = validate(CorpusOptions(archives=args.zip, **{name: getattr(args, name) for name in names}))
    summary = write_corpus(args.out, options, jobs=cores() if args.jobs is None else args.jobs, progress=True)
    _report(summary)
    return 0


def _report(summary: CorpusSummary) -> None:
    counts = Counter((song.genre_top, song.split) for song in summary.intact)
    genres = sorted({genre for genre, _ in counts}, key=lambda name: (not name, name))
    rows = [(genre or "(no top genre)", *(counts[genre, split] for split in SPLITS)) for genre in genres]
    if not summary.written:
        say(f"{summary.out} is already there, with the same options")
    sizes = storage.sizes([storage.join(summary.audio, song.member) for song in summary.songs])
    size = human_bytes(sum(size or 0 for size in sizes))
    table(f"{summary.out}: {len(summary.intact)} clips, {size}", ("genre", *SPLITS), rows)
    if broken := len(summary.songs) - len(summary.intact):
        say(f"and {broken} rows of subset small that are broken on purpose")
    say("next: " + next_command(summary))


def next_command(summary: CorpusSummary) -> str:
    """Return the ingest command for the corpus, with --max-failures where the broken rows exceed the default."""
    expected = summary.expected("small")
    share = 100 * len(expected.failures) / (len(expected.failures) + len(expected.tracks))
    words = ["--audio", summary.audio, "--metadata", summary.metadata, "--subset", "small"]
    words += ["--out", summary.out.rstrip("/") + "-small"]
    words += ["--max-failures", str(int(share) + 1)] if share > DEFAULT_MAX_FAILURES else []
    return command_line("ingest", *words)
