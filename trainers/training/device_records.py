"""The records of a split in the device's memory, from which the training step draws its batches. Imports Keras."""

import keras
import numpy as np
from keras import ops

from trainers.data.inputs import Inputs
from trainers.data.pipeline import available_memory
from trainers.data.shard_check import check_shards
from trainers.training.devices import Device
from transforms.audio.features import KINDS
from transforms.errors import UsageError
from transforms.runtime import console

SPLIT_SHARE = 1 / 2
"""Of the free memory, for the records; the rest is for the model, and on a CPU for the copy that is read into."""

READ_AT_ONCE = 256  # records


class DeviceRecords(keras.layers.Layer):
    """Records as they are stored, and their labels, in the device's memory; a batch is drawn by their numbers.

    Args:
      values: [records, ...] in the kind's dtype, as `label` of `Device.store`.
      label: int32 [records].
    """

    def __init__(self, values: keras.Variable, label: keras.Variable):
        super().__init__(dtype="float32", name="records")
        self.values, self.label = values, label
        self.built = True

    def call(self, rows):
        """Return a batch for `TrainedPart`: {input: [batch, ...], label: int32 [batch]} of records by number."""
        return {"input": take(self.values, rows), "label": take(self.label, rows)}


def take(variable: keras.Variable, rows):
    """Return rows of a variable, in the device's memory."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        # From the variable itself: on a GPU, TensorFlow's other gather does not take uint8 and int16.
        return tf.gather(variable.value, rows)
    return ops.take(variable.value, rows, axis=0)


def load_records(inputs: Inputs, split: str, device: Device) -> DeviceRecords:
    """Read a split, in the order of `Inputs.read`, into the device's memory.

    Raises:
      UsageError: it does not fit there.
      FmaError: a shard is not what was written.
    """
    config, stored, records = inputs.manifest.config, KINDS[inputs.kind], inputs.count(split)
    shape = stored.shape(config)
    check_room(records * stored.payload_bytes(config), device)
    filled = -(-records // device.replicas) * device.replicas  # an equal share for each; what fills it is not drawn
    values, label = np.zeros((filled, *shape), stored.dtype.newbyteorder("=")), np.zeros(filled, np.int32)
    done = 0
    with (
        console.progress(f"{split} records to the {device.name}", records, "records") as progress,
        check_shards(inputs.dataset, inputs.shards(split), inputs.checked),
    ):
        for batch in inputs.read(split, min(READ_AT_ONCE, records)):
            rows = slice(done, min(done + READ_AT_ONCE, records))
            count = rows.stop - done
            values[rows], label[rows] = batch["input"][:count], batch["label"][:count]
            done = rows.stop
            progress.advance(count)
    with device.scope():
        return DeviceRecords(device.store(values), device.store(label))


def check_room(size: int, device: Device) -> None:
    """Refuse records of so many bytes where they do not fit into their share of the free memory.

    Raises:
      UsageError: they do not fit into the device's, or into this machine's, which they pass through.
    """
    rooms = {f"the {device.name}": device.free_memory(), "this machine": available_memory()}
    for name, free in rooms.items():
        if free * SPLIT_SHARE < size:
            raise UsageError(
                f"--cache device: the training records take {size / 1e9:,.1f} GB, and {name} has {free / 1e9:,.1f} GB "
                f"free, of which they may take {SPLIT_SHARE:.0%}: train with --cache auto"
            )
