"""`fma predict`: the genre of songs, with a run's model and the same transforms as in its training."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from trainers.commands.arguments import add_device, add_encoder, add_limits, add_model, add_tags, add_threshold
from trainers.runs.predictions import choose_run
from trainers.serving.answers import Answer, tables
from trainers.serving.engine import Engine
from trainers.serving.inputs import Song, find_songs, on_disk
from trainers.serving.scorers import Scorer, open_scorer, replace_threshold
from trainers.serving.tagger import Tagger
from trainers.serving.timeline import MOST_SONGS, check_picture, draw_timeline
from trainers.serving.zero_shot import GENRES, ZeroShot
from transforms.audio.decoder_process import LimitOptions, Limits
from transforms.commands.arguments import names, number
from transforms.errors import TrackError, UsageError
from transforms.runtime import console, cores
from transforms.runtime.invocation import called_as, command_line

Predicted = tuple[Song, Answer | TrackError]
TAKES_ANY_NAME = True  # also of songs whose names are not UTF-8
OPTIONS = LimitOptions("--timeout", "--memory", "--jobs")


def _genres(text: str) -> tuple[str, ...]:
    return GENRES if text == "all" else tuple(names(text))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Predicts the genre of songs, in any common format and of any length, with a calibrated probability. A file "
        "that has no answer gets its reason, the others their answer, and the exit code is then 1."
    )
    parser.epilog = f"example: {called_as()} predict runs/mel_cnn song.mp3 album/ --timeline genres.png"
    add_model(parser)
    add_encoder(parser)
    parser.add_argument(
        "files", metavar="FILE", nargs="*", help="audio files, folders, or - for bytes on standard input"
    )
    parser.add_argument(
        "--zero-shot",
        type=_genres,
        metavar="GENRES",
        help="without a RUN: what YAMNet hears, untrained on your music; AudioSet's classes of music, joined by "
        f"commas, or all: {', '.join(GENRES)}",
    )
    parser.add_argument("--json", action="store_true", help="print a list with one entry for each file")
    parser.add_argument("--timeline", metavar="PNG", help="draw the genres over the time of the songs")
    parser.add_argument(
        "--jobs", type=number(int, 1, below=1000), metavar="N", help="songs decoded at once; default: the cores"
    )
    add_limits(parser, seconds=600.0, megabytes=2048)
    add_threshold(parser)
    add_tags(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; see `fma predict --help`."""
    songs = find_songs([args.run, *args.files] if args.zero_shot else args.files)
    if not args.zero_shot and not args.files:
        raise UsageError(f"name a song, too: {command_line('predict', args.run, 'FILE')}")
    if args.zero_shot and args.model:
        raise UsageError("--model is of a RUN, and --zero-shot takes none")
    if args.timeline:
        check_picture(args.timeline)
    run = "" if args.zero_shot else choose_run(args.run)
    if all(song.failure for song in songs):
        predicted: list[Predicted] = [(song, song.failure) for song in songs if song.failure]
    else:
        predicted = _predict(args, run, songs)
    if args.json:
        console.say_json([_entry(song, found) for song, found in predicted])
    else:
        _print(predicted)
    if args.timeline:
        _draw(args.timeline, predicted)
    return int(any(isinstance(found, TrackError) for _, found in predicted))


def _predict(args: argparse.Namespace, run: str, songs: Sequence[Song]) -> list[Predicted]:
    if args.zero_shot:
        scorer = _open_zero_shot(args)
    else:
        scorer = open_scorer(run, args.model, args.device, threshold=args.threshold, encoders=args.encoder)
    if args.timeline and not scorer.by_window:
        raise UsageError(f"--timeline: {scorer.name} predicts whole songs, not their windows")
    tagger = Tagger(args.tags, scorer.config, args.device) if args.tags else None
    decoders = min(len(songs), args.jobs or cores())
    limits = Limits(args.timeout, args.memory, options=OPTIONS)
    with (
        on_disk(songs, args.timeout) as files,
        closing(Engine(scorer, limits, decoders, tagger=tagger)) as engine,
    ):
        return _predict_all(engine, files)


def _open_zero_shot(args: argparse.Namespace) -> Scorer:
    scorer: Scorer = ZeroShot(args.zero_shot, args.device, args.encoder)
    console.log(
        f"zero-shot: how YAMNet, trained on AudioSet, hears {', '.join(scorer.task.labels)}; it has learned nothing "
        "from your music, and its probabilities are not calibrated"
    )
    return replace_threshold(scorer, args.threshold)


def _predict_all(engine: Engine, songs: Sequence[Song]) -> list[Predicted]:
    answers = zip(songs, engine.predict_all(songs), strict=True)
    if len(songs) == 1:
        return list(answers)
    predicted = []
    with console.progress("predict", len(songs), "songs") as progress:
        for one in answers:
            predicted.append(one)
            progress.advance(1)
    return predicted


def _entry(song: Song, found: Answer | TrackError) -> dict[str, Any]:
    if isinstance(found, TrackError):
        return {"file": song.name, "error": found.reason, "message": found.message}
    return {"file": song.name} | found.to_json()


def _print(predicted: Sequence[Predicted]) -> None:
    answers = _answers(predicted)
    failures = [(song, found) for song, found in predicted if isinstance(found, TrackError)]
    for at, (title, columns, rows) in enumerate(tables(answers)):
        if at:
            console.say()
        if rows:
            console.table(title, columns, rows)
        else:
            console.say(title)
    if failures:
        if answers:
            console.say()
        console.table(
            "no answer", ("file", "reason", "what was found"), [(s.name, f.reason, f.message) for s, f in failures]
        )


def _answers(predicted: Sequence[Predicted]) -> list[tuple[str, Answer]]:
    return [(song.name, found) for song, found in predicted if isinstance(found, Answer)]


def _draw(path: str, predicted: Sequence[Predicted]) -> None:
    answers = _answers(predicted)
    if not answers:
        console.log(f"{path} is not drawn: no song has an answer")
        return
    draw_timeline(path, answers[:MOST_SONGS])
    drawn = f" (the first {MOST_SONGS} of {len(answers):,} songs)" if len(answers) > MOST_SONGS else ""
    console.log(f"timeline: {path}{drawn}")
