"""Robustness of a run's model: what becomes of its answers when the same songs sound as if they came from elsewhere.

Every song of a split is rendered with each of `transforms.audio.alterations`, written to a file, and predicted as
`fma predict` does it; in a cross-validation every song, by the fold's model that knows none of its artist's.
`robustness/SPLIT.json` of the run, and on another dataset than its own `robustness/DIGEST-SPLIT.json`, holds for each
model

    tracks   its answers: the true genre of a track and the predicted one for each of `sounds`, as indices into `labels`
    scores   by sound, see `score`; left out while not all songs are done
    dataset, model_sha256, sounds, labels   what the answers depend on

It is written while the work goes on, so that a call that was interrupted is carried on with.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from trainers.classical.finished import load_finished
from trainers.evaluation.metrics import wilson
from trainers.runs.directory import BASELINES, RunConfig, fold_path, load_config
from trainers.runs.files import read_json, report_damage, write_json
from trainers.runs.predictions import predictions_path, read_predictions
from trainers.serving.classical import open_folds
from trainers.serving.engine import Engine
from trainers.serving.scorers import Scorer, open_network, open_scorer, refuse_name
from trainers.serving.track_features import Opening
from transforms import storage
from transforms.audio.alterations import ALTERATIONS, Sound
from transforms.audio.decode import read_channels
from transforms.audio.decoder_process import Limits
from transforms.catalog.locate import locate_again, open_track
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest, load
from transforms.errors import TrackError, UsageError
from transforms.runtime import console, cores, temporary
from transforms.runtime.invocation import command_line
from transforms.tracks import Track

LONGEST = 300.0  # seconds of a song that are rendered, from its beginning
SAVED_EVERY = 30.0  # seconds

Answers = dict[str, list[int]]
"""By track id: the true genre, and the predicted one for each alteration."""


@dataclass(frozen=True)
class Job:
    """What to measure, and how."""

    run: str
    dataset: str
    split: str
    audio: str | None = None  # a folder or a zip; None: where it was ingested from
    model: str | None = None  # of a run of fma baselines; None: the best one on validation
    device: str = "auto"  # this and the next one as of `open_scorer`
    encoders: Sequence[str] = ()
    songs_at_once: int | None = None  # None: as many as cores


@dataclass(frozen=True)
class Robustness:
    """What was measured of a model."""

    model: str  # its name
    tracks: int  # songs that it was measured on
    scores: dict[str, dict[str, Any]]  # by alteration; see `score`

    def to_json(self) -> dict[str, Any]:
        """Return the fields, ready for json.dumps."""
        return {"model": self.model, "tracks": self.tracks, "sounds": self.scores}


def measure_robustness(job: Job) -> Robustness:
    """Measure a model of a run on altered songs, and store the result in the run.

    What an earlier call left unfinished is not measured again.

    Raises:
      UsageError: the run has many genres for each track, no song of the split has a genre that it knows, or their
        audio is not there.
      FmaError: a file of the run or the dataset is damaged.
    """
    manifest, config = load(job.dataset), load_config(job.run)
    if config.folds:
        _check_folds(job, config, manifest)
    songs, labels = _find_songs(job, manifest), config.labels
    file = _file(job.split, "" if manifest.digest == config.dataset["digest"] else manifest.digest)
    parts = _divide(job, config, songs)
    content = b"".join(storage.read_bytes(part.scorer.weights) for part in parts)
    weights = hashlib.sha256(content).hexdigest()
    facts = {"dataset": manifest.digest, "model_sha256": weights, "sounds": list(ALTERATIONS), "labels": labels}
    name = parts[0].scorer.name
    entry = _Entry(job.run, file, name, facts)
    answers = entry.unfinished()
    failed = []
    with console.progress("robustness", len(songs), "songs", initial=len(answers)) as progress:
        saved = time.monotonic()
        try:
            for song, found in _predict_all(parts, set(answers), job.songs_at_once or cores()):
                if isinstance(found, TrackError):
                    failed.append(f"{song.shown_id} ({found.reason})")
                else:
                    answers[str(song.track_id)] = [labels.index(song.genre), *found]
                progress.advance()
                if time.monotonic() > saved + SAVED_EVERY:
                    entry.save(answers)
                    saved = time.monotonic()
        except BaseException:
            entry.save(answers)
            raise
    if failed:
        console.log(f"left out, since they have no answer for each sound: {', '.join(failed)}")
    if not answers:
        raise UsageError(f"no song of the {job.split} split of {job.dataset} can be predicted")
    scores = score(answers)
    entry.save(answers, scores)
    return Robustness(name, len(answers), scores)


def score(answers: Answers) -> dict[str, dict[str, Any]]:
    """Return for each alteration

    accuracy, interval: share of right answers, and its 95% interval by Wilson;
    changed: share of songs whose answer is not that for the unchanged sound.
    """
    table = np.array(list(answers.values()))
    truth, unchanged, count = table[:, 0], table[:, 1], len(table)
    found = {}
    for name, predicted in zip(ALTERATIONS, table.T[1:], strict=True):
        right = int((predicted == truth).sum())
        changed = float((predicted != unchanged).mean())
        found[name] = {"accuracy": right / count, "interval": list(wilson(right, count)), "changed": changed}
    return found


def read_robustness(run: str, split: str) -> dict[str, Robustness]:
    """Return what is stored of a run's models on its own dataset, by name; {} where none was measured to the end.

    Raises:
      FmaError: the file is damaged.
    """
    file, found = _file(split), {}
    entries = _read(run, file)
    with report_damage(storage.join(run, file)):
        for name, entry in entries.items():
            if "scores" in entry:
                known = {sound: values for sound, values in entry["scores"].items() if sound in ALTERATIONS}
                found[name] = Robustness(name, len(entry["tracks"]), known)
    return found


def _file(split: str, digest: str = "") -> str:
    return f"robustness/{digest[:12]}-{split}.json" if digest else f"robustness/{split}.json"


def _read(run: str, file: str) -> dict[str, Any]:
    if not storage.exists(storage.join(run, file)):
        return {}
    again = f"remove it and run {command_line('evaluate', run, '--data', 'DATASET', '--robustness')} again"
    return read_json(run, file, again)["models"]


@dataclass(frozen=True)
class _Entry:
    """What a file of a run holds of a model."""

    run: str
    file: str
    model: str
    facts: dict[str, Any]  # that its answers depend on

    def unfinished(self) -> Answers:
        """Return the answers that an interrupted call has stored, if they still hold."""
        have = _read(self.run, self.file).get(self.model, {})
        return dict(have["tracks"]) if "scores" not in have and self.facts.items() <= have.items() else {}

    def save(self, answers: Answers, scores: dict[str, Any] | None = None) -> None:
        """Replace it; `scores` where all songs are done."""
        entry = self.facts | {"tracks": answers} | ({"scores": scores} if scores else {})
        write_json(self.run, self.file, {"models": _read(self.run, self.file) | {self.model: entry}})


def _find_songs(job: Job, manifest: Manifest) -> list[Track]:
    """Return the songs of the split with a genre that the run knows, and where their audio is."""
    config = load_config(job.run)
    if config.many:
        raise UsageError(f"{job.run} gives each track many genres; --robustness is for runs with one label each")
    tracks: list[Track] = list(read_tracks(job.dataset, manifest))
    if not any(_counts(track, job, config) for track in tracks):
        raise UsageError(f"no {job.split} track of {job.dataset} has a genre that {job.run} knows")
    if job.audio:
        tracks = locate_again(tracks, job.audio)
    songs = [track for track in tracks if _counts(track, job, config)]
    if not job.audio and not any(storage.exists(song.archive or song.path) for song in songs):
        raise UsageError(
            f"the audio of {job.dataset} is not where it was ingested from, such as {songs[0].locator}: give its "
            "folder or zip as --audio"
        )
    return songs


def _counts(track: Track, job: Job, config: RunConfig) -> bool:
    return (track.split == job.split or config.folds > 0) and track.genre in config.labels


@dataclass(frozen=True)
class _Part:
    """A model, and the songs that it is to predict."""

    scorer: Scorer
    songs: list[Track]


def _check_folds(job: Job, config: RunConfig, manifest: Manifest) -> None:
    """Raise a UsageError where a cross-validation is not finished, or is asked for more than the answers it has."""
    if config.model == BASELINES:
        load_finished(job.run, folds=True)
    else:
        refuse_name(job.run, job.model)
        if job.encoders:
            raise UsageError(f"--encoder is for runs of fma baselines; {job.run} hears with its own networks")
        if not storage.exists(predictions_path(job.run, "test")):
            raise UsageError(f"{job.run} is not finished: give the same {command_line('train', config.model)} again")
    if manifest.digest != config.dataset["digest"]:
        raise UsageError(
            f"{job.run} is a cross-validation of {config.dataset['path']} as it was then, and has models for its songs "
            "alone: --data takes no other dataset, and not that one after it has changed"
        )
    if job.split != "test":
        raise UsageError(f"{job.run} is a cross-validation, where every song is a test song: leave --split out")


def _divide(job: Job, config: RunConfig, songs: list[Track]) -> list[_Part]:
    """Return the run's model and all songs, or of a cross-validation each fold's model and its test songs."""
    if not config.folds:
        return [_Part(open_scorer(job.run, job.model, job.device, encoders=job.encoders), songs)]
    predictions = read_predictions(job.run, "test")
    fold_of = dict(zip(predictions.track_id.tolist(), predictions.fold.tolist(), strict=True))
    if config.model == BASELINES:
        scorers: Sequence[Scorer] = open_folds(job.run, job.model, Opening(job.device, job.encoders))
    else:
        paths = [fold_path(job.run, number) for number in range(1, config.folds + 1)]
        scorers = [open_network(path, load_config(path), job.device) for path in paths]
    return [
        _Part(scorer, [song for song in songs if fold_of.get(song.track_id) == fold])
        for fold, scorer in enumerate(scorers)
    ]


def _predict_all(
    parts: Sequence[_Part], done: set[str], at_once: int
) -> Iterator[tuple[Track, list[int] | TrackError]]:
    """Yield each song that is not done with its answers for all alterations, or the reason why one has none."""
    for part in parts:
        waiting = [song for song in part.songs if str(song.track_id) not in done]
        with closing(Engine(part.scorer, Limits(), at_once)) as engine:
            pool = ThreadPoolExecutor(at_once)
            try:
                yield from zip(waiting, pool.map(partial(_predict, engine), waiting), strict=True)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _predict(engine: Engine, song: Track) -> list[int] | TrackError:
    try:
        with open_track(song) as file:
            samples, rate = read_channels(file, LONGEST)
        sound = Sound(samples, rate, engine.scorer.config.window_seconds, song.track_id)
        with temporary.new_folder() as folder:
            path = os.path.join(folder, "sound")
            return [_predict_file(engine, path, alteration.render(sound)) for alteration in ALTERATIONS.values()]
    except TrackError as error:
        return error


def _predict_file(engine: Engine, path: str, data: bytes) -> int:
    with open(path, "wb") as file:
        file.write(data)
    return int(engine.predict(path).probabilities.argmax())
