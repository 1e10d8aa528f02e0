"""What each model costs, as far as its run's files say it, and the command that uses it."""

import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from trainers.report.collect import SPLIT, ModelOfRun, Run
from trainers.report.html import NONE, Content, Html, element, paragraph, section, table
from trainers.runs.directory import BASELINES, LOGS, METRICS, read_metrics, read_settings, report_damage
from trainers.runs.state import MODEL
from trainers.training.checkpoint import open_best
from transforms import storage
from transforms.errors import FmaError
from transforms.library_errors import DAMAGED_ZIP
from transforms.records import read_records
from transforms.runtime.console import human_bytes, human_seconds
from transforms.runtime.invocation import command_line

WEIGHTS = "model.weights.h5"
"""The member of a .keras file that has the weights."""

NOT_WEIGHTS = {"optimizer", "seed_generator"}
EVENT = b"\x09"  # what a TensorBoard event begins with: its first field is a double, the wall time
SONG = "song.mp3"
SONG_SECONDS = 30  # of the song that the table has the time of


@dataclass(frozen=True)
class Training:
    """When a run trained, by its TensorBoard log."""

    seconds: float  # from the start of each of its sessions to its last epoch, together
    end: float  # of the last session, in seconds since 1970


def costs(models: Sequence[ModelOfRun]) -> Html:
    """Return the section."""
    return section(
        "use",
        "Size, training and use",
        table("By model", COLUMNS, [_row(model) for model in models], numbers=range(1, 5), unseen=True),
        paragraph(
            "Parameters: all numbers of the network, those of a frozen front as well; classical models have none in "
            "this sense. On disk: the model's file; the encoders that it needs come on top of it. Training: from "
            f"start to last epoch by the run's own log, without the time between sessions; {NONE}: the run keeps no "
            f"times, as those of fma baselines. Song of {SONG_SECONDS} s: what the network takes for its windows, as "
            "fast as the records of the test split went through fma evaluate, on the device in brackets; decoding the "
            f"file comes on top of it. {NONE}: fma evaluate has not measured it.",
            class_="note",
        ),
    )


COLUMNS = (
    *("model", "parameters", "on disk", "training", f"song of {SONG_SECONDS} s", "trained on (UTC)"),
    *("needs", "use it"),
)


def _row(model: ModelOfRun) -> list[Content]:
    run, files = model.run, model_files(model)
    found = [size for size in storage.sizes([storage.join(run.path, file) for file in files]) if size is not None]
    size = human_bytes(sum(found)) if files and len(found) == len(files) else NONE
    parameters = f"{count_parameters(run.path):,}" if found and files == [MODEL] else NONE
    training = read_training(run.path)
    ended = element("time", f"{datetime.fromtimestamp(training.end, UTC):%Y-%m-%d}") if training else NONE
    time = human_seconds(training.seconds) if training else NONE
    song = read_song_time(run) or NONE
    needs = ", ".join(run.config.dataset.get("encoders", {})) or NONE
    return [model.name, parameters, size, time, song, ended, needs, _use(model)]


def _use(model: ModelOfRun) -> Content:
    if model.run.config.folds:
        return "a model for each fold, none for new music"
    several = model.run.config.model == BASELINES and len(model.run.predictions.models) > 1
    command = command_line("predict", model.run.path, SONG, *(("--model", model.key) if several else ()))
    return element("code", command)


def model_files(model: ModelOfRun) -> list[str]:
    """Return the files of a model, relative to its run; FmaError where metrics.json is damaged."""
    run = model.run
    if run.config.model != BASELINES:
        return [MODEL]
    with report_damage(storage.join(run.path, METRICS)):
        fits = read_metrics(run.path).get("models", {}).get(model.key, {}).get("fits", [])
        return [fit["file"] for fit in fits]


def count_parameters(run: str) -> int:
    """Return how many numbers the model of a run of fma train has, without TensorFlow.

    Raises:
      FmaError: model.keras is damaged.
    """
    import h5py

    with open_best(run) as file:
        try:
            with zipfile.ZipFile(file) as archive, archive.open(WEIGHTS) as member, h5py.File(member, "r") as weights:
                sizes: list[int] = []

                def note(name: str, item: object) -> None:
                    if isinstance(item, h5py.Dataset) and NOT_WEIGHTS.isdisjoint(name.split("/")):
                        sizes.append(int(item.size))

                weights.visititems(note)
        except DAMAGED_ZIP as error:
            raise FmaError(f"{storage.join(run, MODEL)} is damaged ({error})") from error
    return sum(sizes)


def read_training(run: str) -> Training | None:
    """Return when a run trained; None where it has no log of that."""
    folder = storage.join(run, LOGS, "train")
    sessions = []
    for path, _ in storage.list_files(folder) if storage.exists(folder) else ():
        times = list(_event_times(path))
        if times:
            sessions.append((times[0], times[-1]))
    if not sessions:
        return None
    return Training(sum(end - start for start, end in sessions), max(end for _, end in sessions))


def read_song_time(run: Run) -> str | None:
    """Return how long a network takes for the windows of a song, and on what, such as `0.02 s (cpu)`.

    None where `fma evaluate` has not measured it on the test split. FmaError where metrics.json is damaged.
    """
    with report_damage(storage.join(run.path, METRICS)):
        speed = read_metrics(run.path).get(SPLIT, {}).get("speed")
        if not speed:
            return None
        settings = read_settings(run.path, run.config)
        seconds = settings.count_windows(SONG_SECONDS * settings.sample_rate) / speed["records_per_second"]
        return f"{seconds:.2g} s ({speed['device']})"


def _event_times(path: str) -> Iterator[float]:
    """Yield the wall time of each event of a TensorBoard file, in seconds since 1970."""
    with storage.open_read(path) as file, suppress(FmaError):  # the last event of a session that was killed is cut off
        for event in read_records(file, path):
            if event[:1] == EVENT and len(event) > 8:
                yield struct.unpack("<d", event[1:9])[0]
