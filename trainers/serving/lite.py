"""A network as TFLite, as a `Scorer`: of a finished run, or of a folder of `fma export`. Does not import TensorFlow."""

import hashlib
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trainers.models import find_model
from trainers.runs.directory import RunConfig, read_settings
from trainers.runs.files import NOT_OURS, open_zip, read_json, report_damage
from trainers.runs.novelty import Novelty, novelty_of, read_novelty
from trainers.runs.state import MODEL, load_state
from trainers.serving.tasks import Task, read_task, task_of
from transforms import storage
from transforms.config import DatasetConfig
from transforms.errors import FmaError, UsageError, check_format_version
from transforms.runtime import console, cores
from transforms.runtime.stderr import capture_native_stderr

TFLITE, LITE = "model.tflite", "model.tflite.zip"
"""The model in an export; and in a run, where a zip gives it a checksum."""

RECORDS, SONG = "records", "song"  # signatures, see `trainers.serving.tflite`
FACTS, FACTS_VERSION = "export.json", 4
"""Version 1 had no signatures for records, version 2 one label for each track only, version 3 one kind of records."""

EXPORT_AGAIN = "export the run again"

Runner = Callable[..., dict[str, np.ndarray]]


def records_name(kind: str, kinds: Sequence[str]) -> str:
    """Return the name of the signature for records of one of the kinds that a model reads."""
    return RECORDS if len(kinds) == 1 else f"{RECORDS}_{kind}"


class LiteScorer:
    """A `Scorer` of a network as TFLite.

    Args:
      name: of the model.
      content: the model.
      config: of the dataset that it was trained on.
      task: of the run.
      kinds: of the records that it reads.
      weights: path of the file that its weights are from.

    Raises:
      FmaError: it is not a model of so many labels.
    """

    def __init__(
        self,
        name: str,
        content: bytes,
        config: DatasetConfig,
        task: Task,
        *,
        kinds: Sequence[str],
        weights: str,
    ):
        self.name, self.kinds, self.config, self.task, self.weights = name, tuple(kinds), config, task, weights
        self._records, self._song = _open(content, self.kinds, weights)
        self.novelty: Novelty | None = None  # of exports; `open_lite_run` sets that of a run
        self._lock = threading.Lock()  # all runners use one interpreter, which is not for two threads at once
        windows, song = (
            runner.get_output_details()  # type: ignore[attr-defined]
            for runner in (self._records[self.kinds[0]], self._song)
        )
        self.by_window, self._pooled = "logits" in windows, "logits" in song
        outputs = int((windows | song)["logits"]["shape"][-1])
        if outputs != len(task.labels):
            labels = console.counted(len(task.labels), "label")
            raise FmaError(f"{weights} is damaged: it has {outputs} outputs for {labels}")

    def rows(self, kind: str, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        with self._lock:
            found = self._records[kind](records=payloads)
        features = found["features"]
        return found.get("logits", np.empty((len(features), 0), np.float32)), features

    def song(self, logits: np.ndarray, means: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, float | None]:
        """See `Scorer`."""
        features = np.concatenate([means[kind] for kind in self.kinds]).astype(np.float32)
        with self._lock:
            found = self._song(features=features[None])
        embedding = found["embedding"][0]
        return found["logits"] if self._pooled else logits, embedding, novelty_of(self.novelty, embedding)


def _read(path: str) -> bytes:
    try:
        return storage.read_bytes(path)
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: {EXPORT_AGAIN}") from error


def _open(content: bytes, kinds: Sequence[str], path: str) -> tuple[dict[str, Runner], Runner]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with capture_native_stderr():  # it says which of its engines it uses
            interpreter = Interpreter(model_content=content, num_threads=cores())
            interpreter.allocate_tensors()
            runners = {kind: interpreter.get_signature_runner(records_name(kind, kinds)) for kind in kinds}
            return runners, interpreter.get_signature_runner(SONG)
    except ValueError as error:
        raise FmaError(f"{path} cannot be loaded as TFLite ({str(error).partition(chr(10))[0]})") from error


def open_lite_run(run: str, config: RunConfig) -> LiteScorer | None:
    """Open the TFLite model of a run, or return None where it has none of the epoch that is kept.

    Raises:
      FmaError: it is damaged.
    """
    state, path = load_state(run), storage.join(run, LITE)
    if not state.finished or not storage.exists(path):
        return None
    advice = "remove it, and Keras' model is used"
    with open_zip(run, LITE, advice) as file, zipfile.ZipFile(file) as archive:
        if member(state.best_epoch) not in archive.namelist():  # the run was trained on since, and killed after that
            return None
        content = archive.read(member(state.best_epoch))
    settings = read_settings(run, config)
    # The neighbours that `fma serve` stores are of these weights, whichever library computes with them.
    weights = storage.join(run, MODEL)
    spec = find_model(config.model)
    task = task_of(run, config, config.model)
    scorer = LiteScorer(spec.name, content, settings, task, kinds=(spec.kind,), weights=weights)
    scorer.novelty = read_novelty(run, spec.name)
    return scorer


def member(epoch: int) -> str:
    """Return the name of the model of an epoch in the zip."""
    return f"epoch-{epoch}.tflite"


def is_export(folder: str) -> bool:
    """Return whether a folder is what `fma export` made of a network."""
    return storage.exists(storage.join(folder, FACTS))


def open_export(folder: str) -> LiteScorer:
    """Open the TFLite model of an export. Its SavedModel is left alone: a graph can read and write any file.

    Raises:
      UsageError: it has no TFLite model.
      FmaError: it is damaged.
    """
    path, model = storage.join(folder, FACTS), storage.join(folder, TFLITE)
    facts = read_json(folder, FACTS, EXPORT_AGAIN)
    with report_damage(path):
        check_format_version(path, facts, FACTS_VERSION)
        if facts["format_version"] == 1 or not facts["sha256"]:
            raise UsageError(f"{folder} has no {TFLITE} that predicts records: {EXPORT_AGAIN}")
        content = _read(model)
        if hashlib.sha256(content).hexdigest() != facts["sha256"]:
            raise FmaError(f"{model} {NOT_OURS}: {EXPORT_AGAIN}")
        config, task = DatasetConfig.from_json(facts["config"]), read_task(facts)
        kinds = facts["kinds"] if "kinds" in facts else [find_model(facts["model"]).kind]
        return LiteScorer(facts["model"], content, config, task, kinds=kinds, weights=model)
