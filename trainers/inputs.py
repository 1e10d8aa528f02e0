"""Records as a model wants to see them: mel normalised by the graph that a run carries, raw scaled to [-1, 1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.augment import units_per_db
from trainers.data import ahead, read_split
from trainers.data.budget import Cache
from transforms.dataset.manifest import Manifest

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Inputs:
    """A kind of records of a dataset, and how they become a model's input.

    Attributes:
      dataset: its path.
      manifest: its manifest.
      kind: feature kind.
      normalize: a batch of records -> float32 [batch, ...].
      units_per_db: what 1 dB comes to in each band of a normalised mel; () for raw.
    """

    dataset: str
    manifest: Manifest
    kind: str
    normalize: Callable[[dict[str, "tf.Tensor"]], "tf.Tensor"]
    units_per_db: tuple[float, ...] = ()

    def read(self, split: str, batch_size: int, cache: Cache = "off") -> "tf.data.Dataset":
        """Every record of a split once, always in the same order, in batches that are filled up to the same size.

        Returns:
          dicts of {input: float32 [batch, ...]; label, track_id, window: int64 [batch]; weight: float32 [batch], 0 for
          what fills up the last batch}.
        """
        import tensorflow as tf

        batches = read_split(self.dataset, self.manifest, self.kind, split, batch_size, pad=True, cache=cache)
        return ahead(batches.map(self._with_input, tf.data.AUTOTUNE))

    def _with_input(self, batch: dict[str, "tf.Tensor"]) -> dict[str, "tf.Tensor"]:
        return {"input": self.normalize(batch)} | {key: value for key, value in batch.items() if key != self.kind}


def open_inputs(dataset: str, manifest: Manifest, kind: str, run: str) -> Inputs:
    """The inputs that a run's model gets from a dataset.

    Raises:
      UsageError, FmaError: the run's graph is missing or damaged.
    """
    if kind == "raw":
        return Inputs(dataset, manifest, kind, _scale_raw)
    from trainers.transform import load_transform

    graph = load_transform(run, kind)
    return Inputs(dataset, manifest, kind, lambda batch: graph(batch)[kind], units_per_db(graph, manifest.config))


def _scale_raw(batch: dict[str, "tf.Tensor"]) -> "tf.Tensor":
    import tensorflow as tf

    return tf.cast(batch["raw"], tf.float32) / 32768
