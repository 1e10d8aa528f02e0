"""A network as TFLite, as a `Scorer`: of a finished run, or of a folder of `fma export`. Does not import TensorFlow."""

import hashlib
import threading
import zipfile
from collections.abc import Callable

import numpy as np

from trainers.models import find_model
from trainers.runs.directory import RunConfig, read_settings
from trainers.runs.files import NOT_OURS, open_zip, read_json, report_damage
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
FACTS, FACTS_VERSION = "export.json", 3
"""Version 1 had no signatures for records, version 2 one label for each track only."""

EXPORT_AGAIN = "export the run again"

Runner = Callable[..., dict[str, np.ndarray]]


class LiteScorer:
    """A `Scorer` of a network as TFLite; `content` is the model, and `weights` the file that its weights are from.

    Raises:
      FmaError: it is not a model of so many labels.
    """

    by_window = True

    def __init__(
        self,
        model: str,
        content: bytes,
        config: DatasetConfig,
        task: Task,
        *,
        weights: str,
    ):
        spec = find_model(model)
        self.name, self._pooled = spec.name, spec.pool == "track"
        self.kind: str = spec.kind
        self.config, self.task, self.weights = config, task, weights
        self._records, self._song = _open(content, weights)
        self._lock = threading.Lock()  # both runners use one interpreter, which is not for two threads at once
        outputs = int(self._records.get_output_details()["logits"]["shape"][-1])  # type: ignore[attr-defined]
        if outputs != len(task.labels):
            labels = console.counted(len(task.labels), "label")
            raise FmaError(f"{weights} is damaged: it has {outputs} outputs for {labels}")

    def rows(self, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        with self._lock:
            found = self._records(records=payloads)
        return found["logits"], found["features"]

    def song(self, logits: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        with self._lock:
            found = self._song(features=features[None])
        return found["logits"] if self._pooled else logits, found["embedding"][0]


def _read(path: str) -> bytes:
    try:
        return storage.read_bytes(path)
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: {EXPORT_AGAIN}") from error


def _open(content: bytes, path: str) -> tuple[Runner, Runner]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with capture_native_stderr():  # it says which of its engines it uses
            interpreter = Interpreter(model_content=content, num_threads=cores())
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner(RECORDS), interpreter.get_signature_runner(SONG)
    except ValueError as error:
        raise FmaError(f"{path} cannot be loaded as TFLite ({str(error).partition(chr(10))[0]})") from error


def open_lite_run(run: str, config: RunConfig) -> LiteScorer | None:
    """Open the TFLite model of a run, or return None where it has none of its best epoch.

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
    return LiteScorer(config.model, content, settings, task_of(run, config, config.model), weights=weights)


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
        return LiteScorer(facts["model"], content, config, task, weights=model)
