"""`fma predict`: the genre of songs, with a run's model and the very transforms that it was trained with."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from trainers.commands.arguments import add_device, add_limits, add_model, add_threshold
from trainers.serving.answers import Answer
from trainers.serving.engine import Engine
from trainers.serving.inputs import Song, find_songs, on_disk, printable
from trainers.serving.pictures import check_picture, draw_timeline
from trainers.serving.scorers import Scorer, open_scorer
from transforms.audio.decoder_process import Limits
from transforms.commands.arguments import number
from transforms.errors import TrackError, UsageError
from transforms.runtime import console
from transforms.runtime.parallel import cores

Judged = tuple[Song, Answer | TrackError]
SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.description = (
        "Says which genre songs have, with a calibrated probability. Any file that libsndfile reads, of any length. A "
        "file that cannot be judged gets its reason, the others their answer, and the exit code is then 1."
    )
    parser.epilog = "example: fma predict runs/mel_cnn song.mp3 album/ --timeline genres.png"
    add_model(parser)
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="audio files, folders, or - for bytes on standard input"
    )
    parser.add_argument("--json", action="store_true", help="print a list with one entry for each file")
    parser.add_argument("--timeline", metavar="PNG", help="draw the genres over the time of the songs")
    parser.add_argument(
        "--jobs", type=number(int, 1, below=1000), metavar="N", help="songs decoded at once; default: the cores"
    )
    add_limits(parser, seconds=600.0, megabytes=2048)
    add_threshold(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; see `fma predict --help`."""
    songs = find_songs(args.files)
    if args.timeline:
        check_picture(args.timeline, len(songs))
    scorer = open_scorer(args.run, args.model, args.device)
    if args.timeline and not scorer.by_window:
        raise UsageError(f"--timeline: {scorer.name} judges whole songs, not the windows of one")
    with on_disk(songs, args.timeout) as songs:
        judged = _judge_all(args, scorer, songs)
    if args.json:
        console.say(json.dumps([_entry(song, found, args.threshold) for song, found in judged]))
    else:
        _print(judged, args.threshold)
    if args.timeline:
        _draw(args.timeline, judged)
    return int(any(isinstance(found, TrackError) for _, found in judged))


def _judge_all(args: argparse.Namespace, scorer: Scorer, songs: Sequence[Song]) -> list[Judged]:
    jobs = min(len(songs), args.jobs or cores())
    engine = Engine(scorer, Limits(args.timeout, args.memory), jobs)
    try:
        if len(songs) == 1:
            return list(judge_all(engine, songs, jobs))
        judged = []
        with console.progress("predict", len(songs), "songs") as progress:
            for one in judge_all(engine, songs, jobs):
                judged.append(one)
                progress.advance(1)
        return judged
    finally:
        engine.close()


def judge_all(engine: Engine, songs: Sequence[Song], jobs: int) -> Iterator[Judged]:
    """The answer, or the reason why there is none, for each song, in their order."""

    def judge(song: Song) -> Answer | TrackError:
        if song.failure:
            return song.failure
        try:
            answer = engine.judge(song.path)
        except TrackError as error:
            return error
        return replace(answer, embedding=answer.embedding[:0])  # answers are kept until all songs are done

    pool = ThreadPoolExecutor(jobs)
    try:
        yield from zip(songs, pool.map(judge, songs), strict=True)
    finally:
        # Ctrl-C: songs that wait are not begun, and closing the engine ends those that are being decoded.
        pool.shutdown(wait=False, cancel_futures=True)


def _entry(song: Song, found: Answer | TrackError, threshold: float) -> dict[str, Any]:
    if isinstance(found, TrackError):
        return {"file": song.name, "error": found.reason, "message": found.message}
    return {"file": song.name} | found.to_json(threshold)


def _print(judged: Sequence[Judged], threshold: float) -> None:
    answers = [(song, found) for song, found in judged if isinstance(found, Answer)]
    failures = [(song, found) for song, found in judged if isinstance(found, TrackError)]
    if answers:
        rows = [
            (song.name, answer.verdict(threshold), _genres(answer), console.human_seconds(answer.seconds))
            for song, answer in answers
        ]
        _table("", ("file", "verdict", "most likely", "length"), rows)
    if failures:
        if answers:
            console.say()
        _table("no answer", ("file", "reason", "what was found"), [(s.name, f.reason, f.message) for s, f in failures])


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console.table(title, columns, [[printable(cell, sys.stdout.encoding) for cell in row] for row in rows])


def _genres(answer: Answer) -> str:
    if answer.silent:
        return "digital silence"
    return ", ".join(f"{answer.labels[i]} {answer.probabilities[i]:.2f}" for i in answer.order[:SHOWN])


def _draw(path: str, judged: Sequence[Judged]) -> None:
    answers = [(song.name, found) for song, found in judged if isinstance(found, Answer)]
    if not answers:
        console.log(f"{path} is not drawn: no song has an answer")
        return
    draw_timeline(path, answers)
    console.log(f"timeline: {path}")
