"""A model that nobody has trained on one's music: what YAMNet hears of its own classes that are genres."""

from collections.abc import Mapping, Sequence

import numpy as np

from trainers.encoders.audioset import MUSIC, find_class
from trainers.encoders.table import build_encoder
from trainers.evaluation.calibration import Calibration
from trainers.serving.encoder_files import open_file
from trainers.serving.tasks import OneLabel, Task
from trainers.training.devices import import_tensorflow, open_device
from transforms.config import DatasetConfig
from transforms.encoders.encoder import read_facts
from transforms.errors import UsageError
from transforms.runtime.text import did_you_mean

ENCODER, OUTPUT = "yamnet", "logits"
GENRES = ("Blues", "Classical", "Country", "Electronic", "Folk", "Hip-Hop", "Jazz", "Pop", "Reggae", "Rock", "Soul")
"""Choose among these, unless others are given."""


class ZeroShot:
    """A `Scorer` of YAMNet's logits of the classes that genres are by their names.

    A song's logits are the means over all of its patches, whose softmax is not calibrated.

    Args:
      genres: names of AudioSet's classes of music, "Rock" as well as "Rock music".
      device: see `trainers.training.devices`.
      encoders: folders of `fma export --encoder yamnet`, of which one takes the place of the published weights.

    Raises:
      UsageError: AudioSet has no class of such a name, there are fewer than two genres, or no encoder is YAMNet.
      FmaError: the weights are not here and cannot be fetched.
    """

    name = "zero-shot"
    kinds: tuple[str, ...] = ("raw",)
    by_window = True

    def __init__(self, genres: Sequence[str], device: str = "auto", encoders: Sequence[str] = ()):
        classes = [_class_of(genre) for genre in genres]
        if len(set(classes)) < max(2, len(classes)):
            raise UsageError("--zero-shot: name two genres or more, each once")
        self.config = DatasetConfig(features=self.kinds)
        self.task: Task = OneLabel(list(genres), Calibration(1.0, fitted=False))
        named = [(path, facts) for path in encoders if (facts := read_facts(path)) and facts.name == ENCODER]
        if encoders and not named:
            raise UsageError(f"--zero-shot takes {ENCODER} only: --encoder {encoders[0]} is no folder of it")
        if named:
            path, facts = named[0]
            moments = open_file(path, facts, self.config)
        else:
            import_tensorflow()
            from trainers.serving.encoders import as_graph, compile_moments

            open_device(device)
            model, facts = build_encoder(ENCODER, self.config)
            moments = compile_moments(as_graph(model, facts), self.config)
        self.weights, self._moments = facts.sha256, moments
        self._columns = facts.columns(OUTPUT).start + np.array(classes)

    def rows(self, kind: str, payloads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer`."""
        moments = self._moments(payloads)
        return moments[:, self._columns].astype(np.float32), moments

    def song(self, logits: np.ndarray, means: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, None]:
        """See `Scorer`."""
        moments = means[self.kinds[0]]
        return moments[None, self._columns].astype(np.float32), moments[: len(moments) // 2].astype(np.float32), None


def _class_of(genre: str) -> int:
    index = find_class(genre)
    if index is None:
        hint = did_you_mean(genre, MUSIC)
        raise UsageError(f"--zero-shot: AudioSet has no class of music of the name {genre}{hint}")
    return index
