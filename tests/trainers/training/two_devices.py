"""Run as a program by test_models: each model on one CPU, and on two logical CPUs with the same global batch.

Exact but for rounding: SGD, no dropout, windows no longer than a crop, batch norm that is synchronized (or frozen), and
a loss that is averaged over the global batch.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tests.trainers.small_models import DROPOUT_FREE, batch_of, build, ready
from trainers.models.spec import Phase
from trainers.training.answers import OneLabel
from trainers.training.augment import Augment
from trainers.training.devices import Device, TensorFlowDevice
from trainers.training.step import TrainedPart

STEPS = 3
MODELS = ("waveform_cnn", "mel_cnn", "yamnet")
"""Every kind of layer and of phase once. The two large graphs would agree just so, after half a minute of tracing."""


def losses(name: str, yamnet_file: Path, device: Device) -> list[float]:
    """The loss of each step, over the global batch."""
    keras.utils.set_random_seed(3)
    with device.scope():
        network = ready(name, build(name, yamnet_file, DROPOUT_FREE))
        answer = OneLabel(np.array([1, 0.5, 1.5], np.float32), smoothing=0.1)
        model = TrainedPart(network, Phase("train", 1, 0.01), answer, seed=0)
        model.compile(keras.optimizers.SGD(0.01), keras.losses.CategoricalCrossentropy(from_logits=True))
    values, labels = batch_of(name)
    batch = {"input": values, "label": labels.argmax(axis=1)}
    data = tf.data.Dataset.from_tensor_slices(batch).batch(len(values), drop_remainder=True)
    return model.fit(data, epochs=STEPS, verbose=0).history["loss"]


def answers(name: str, yamnet_file: Path, device: Device) -> list[list[float]]:
    """Logits of seven records, which two devices cannot share equally."""
    keras.utils.set_random_seed(3)
    with device.scope():
        model = build(name, yamnet_file)
    return device.inference(model)(tf.constant(batch_of(name, 7)[0])).tolist()


def share(device: Device) -> list[list[float]]:
    """For each of seven records, how many its device had at a time."""
    count = device.inference(lambda values, training: tf.fill([len(values), 1], len(values)))
    return count(tf.zeros([7, 2])).tolist()


def gains(strategy: tf.distribute.Strategy) -> list[list[list[float]]]:
    """For each replica, in two steps, what three equal records of raw became under a gain of their own."""
    with strategy.scope():
        layer = Augment(7, gain_db=6.0, mixup=0.0, spec_augment=False)
    values, labels = tf.fill([3, 1], 0.1), tf.ones([3, 2])
    step = tf.function(lambda: strategy.run(lambda: layer(values, labels)[0][:, 0]))
    steps = [strategy.experimental_local_results(step()) for _ in range(2)]
    return [[drawn.numpy().tolist() for drawn in replica] for replica in zip(*steps, strict=True)]


def main() -> None:
    """Prints {losses, answers: {model: [on one device, on two]}; share, gains: [on one, on two]} as JSON."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = TensorFlowDevice("gpu", tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), "float32")
    assert mirrored.replicas == 2
    devices = (TensorFlowDevice("cpu", tf.distribute.get_strategy(), "float32"), mirrored)
    file = Path(sys.argv[1])
    found = {
        of.__name__: {name: [of(name, file, device) for device in devices] for name in MODELS}
        for of in (losses, answers)
    }
    strategies = (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    found |= {"share": [share(device) for device in devices], "gains": [gains(strategy) for strategy in strategies]}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
