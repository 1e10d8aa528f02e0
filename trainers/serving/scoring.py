"""A run's model as serving calls it, whatever kind of run it is: payloads in, log-probabilities out."""

from typing import Protocol

import numpy as np

from trainers.run_state import load_state
from trainers.runs import MODEL, RunConfig, load_config
from trainers.serving.calibration import Calibration
from transforms import storage
from transforms.config import DatasetConfig
from transforms.errors import UsageError
from transforms.runtime import console

BASELINES = "baselines"
"""What config.json of a `fma baselines` run has for a model."""


class Scorer(Protocol):
    """A model that judges songs.

    Attributes:
      name: of the model.
      kind: feature kind that it reads.
      config: of the dataset that it was trained on.
      labels: genre names, in the order of its outputs.
      calibration: of its log-probabilities.
      by_window: whether it judges the windows of a song, too.
      weights: path of the file that its weights are from.
    """

    name: str
    kind: str
    config: DatasetConfig
    labels: list[str]
    calibration: Calibration
    by_window: bool
    weights: str

    def rows(self, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the model makes of some payloads of any songs.

        Args:
          payloads: [b, ...], of the kind's type and shape.

        Returns:
          logits float32 [b, classes], and features float32 [b, d].
        """

    def song(self, logits: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A whole song, from its windows.

        Args:
          logits: float32 [windows, classes].
          features: float32 [d], the mean over its windows.

        Returns:
          log-probabilities float64 [classes] before calibration, and the song's embedding float32 [e].
        """


def open_scorer(run: str, model: str | None = None, device: str = "auto") -> Scorer:
    """Opens the model of a run, or of a bundle that `fma export` made of a classical one.

    Args:
      run: its folder.
      model: which one, for a run of fma baselines; the best on validation where it is None.
      device: see `trainers.devices`.

    Raises:
      UsageError: there is no such run or model, or it has no model yet.
      FmaError: one of its files is damaged.
    """
    from trainers.serving.bundles import is_bundle, open_bundle

    if is_bundle(run):
        return open_bundle(run, model)
    config = load_config(run)
    if config.model == BASELINES:
        from trainers.serving.classical_scorer import open_baselines

        return open_baselines(run, model)
    if model is not None:
        raise UsageError(f"--model is for runs of fma baselines; {run} has one model, {config.model}")
    check_trained(run)
    return _open_keras(run, config, device)


def check_trained(run: str) -> None:
    """Refuses a run without a model, and says so where it is not finished."""
    if not storage.exists(storage.join(run, MODEL)):
        raise UsageError(f"{run} has no model yet: none of its epochs is finished; run fma train again")
    if not load_state(run).finished:
        console.log(f"note: {run} is not finished; this is its best model so far")


def _open_keras(run: str, config: RunConfig, device: str) -> Scorer:
    from trainers.quiet import import_tensorflow

    import_tensorflow()
    from trainers.devices import open_device
    from trainers.serving.keras_scorer import KerasScorer

    open_device(device)
    scorer = KerasScorer(run, config)
    if not scorer.calibration.fitted:
        console.log(f"note: {run} has no validation predictions; its probabilities are not calibrated")
    return scorer
