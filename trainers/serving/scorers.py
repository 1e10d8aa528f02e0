"""A run's model as serving calls it, whatever kind of run it is: payloads in, logits out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trainers.runs.directory import BASELINES, RunConfig, check_trained, load_config
from trainers.serving.classical import is_bundle, open_baselines, open_bundle
from trainers.serving.lite import is_export, open_export, open_lite_run
from trainers.serving.tasks import Task
from trainers.serving.track_features import Opening
from trainers.training.accelerators import may_have_accelerator
from trainers.training.devices import import_tensorflow, open_device
from transforms.config import DatasetConfig
from transforms.errors import UsageError
from transforms.runtime import console

if TYPE_CHECKING:
    from trainers.serving.keras_scorer import KerasScorer


class Scorer(Protocol):
    """A model that predicts songs."""

    name: str  # of the model
    kinds: tuple[str, ...]  # feature kinds that it reads
    config: DatasetConfig  # of the dataset that it was trained on
    task: Task  # from its logits to what an answer says
    by_window: bool  # whether it predicts the windows of a song, too
    weights: str  # path of the file that its weights are from

    def rows(self, kind: str, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run the model on payloads [b, ...] of one kind, of any songs.

        Returns:
          logits float32 [b, genres], or [b, 0] where it does not predict windows; and features float [b, d].
        """

    def song(self, logits: np.ndarray, means: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, float | None]:
        """Return what a song is answered by.

        Args:
          logits: float32 [windows, genres].
          means: by kind, the mean of the features over the song's payloads, float [d].

        Returns:
          logits [n, genres] that `Task.of_song` combines, the song's embedding float32 [e], and how novel it is
          (`trainers.runs.novelty`), None where the run does not know.
        """


def open_scorer(
    run: str,
    model: str | None = None,
    device: str = "auto",
    *,
    threshold: float | None = None,
    encoders: Sequence[str] = (),
) -> Scorer:
    """Open the model of a run, or of what `fma export` made of one.

    On a CPU, a network runs without TensorFlow, whose start takes seconds, where there is a TFLite model of it. A run
    that JAX trained stays on the CPU, unless another device is named.

    `model` names one of a run of fma baselines (None: the best on validation); for `device` see
    `trainers.training.devices`; `threshold` takes the place of those of the run's task, and the files
    `encoders` that of the published encoders.

    Raises:
      UsageError: there is no such run or model, or it has no model yet.
      FmaError: one of its files is damaged.
    """
    return replace_threshold(_open(run, model, device, encoders), threshold)


def replace_threshold(scorer: Scorer, threshold: float | None) -> Scorer:
    """Set the threshold of a scorer's verdicts, unless it is None."""
    if threshold is not None:
        scorer.task = scorer.task.at(threshold)
    return scorer


def _open(run: str, model: str | None, device: str, encoders: Sequence[str]) -> Scorer:
    if is_bundle(run):
        return open_bundle(run, model, Opening(device, encoders))
    if is_export(run):
        refuse_name(run, model)
        return open_export(run)
    config = load_config(run)
    if config.model == BASELINES:
        return open_baselines(run, model, Opening(device, encoders))
    check_network(run, model)
    if device == "auto" and config.made_with.get("backend") == "jax":
        device = "cpu"  # the accelerator here may be one of JAX alone
    on_cpu = device == "cpu" or (device == "auto" and not may_have_accelerator())
    scorer = (open_lite_run(run, config) if on_cpu else None) or open_network(run, config, device)
    if not scorer.task.fitted:
        console.log(f"note: {run} has no validation predictions; {scorer.task.unfitted}")
    return scorer


def check_network(run: str, model: str | None) -> None:
    """Refuse a run of a network that has no model yet, or of which one is named; a note where it is not finished."""
    refuse_name(run, model)
    check_trained(run)


def refuse_name(run: str, model: str | None) -> None:
    """Raise a UsageError where a model is named of a run that has one only."""
    if model is not None:
        raise UsageError(f"--model is for runs of fma baselines; {run} has one model")


def open_network(run: str, config: RunConfig, device: str) -> "KerasScorer":
    """Open the Keras model of a run that has one; see `open_scorer`."""
    import_tensorflow()
    from trainers.serving.keras_scorer import KerasScorer

    open_device(device)
    return KerasScorer(run, config)
