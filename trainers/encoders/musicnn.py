"""musicnn: a convolutional network that tags music, by the Music Technology Group, Universitat Pompeu Fabra.

Its wheel holds checkpoints of TensorFlow 1 that its own code can no longer read here: they are read into a network that
`trainers.encoders.musicnn_network` builds anew.
"""

import os
import zipfile
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trainers.encoders.spec import ONE_LEVEL, EncoderSpec
from trainers.models.keras_file import KERAS_ERRORS
from trainers.models.pretrained import first_line
from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.errors import FmaError
from transforms.runtime import temporary
from transforms.weights.table import WEIGHTS

if TYPE_CHECKING:
    import keras

LASTFM = (
    "rock,pop,alternative,indie,electronic,female vocalists,dance,00s,alternative rock,jazz,beautiful,metal,chillout,"
    "male vocalists,classic rock,soul,indie rock,Mellow,electronica,80s,folk,90s,chill,instrumental,punk,oldies,blues,"
    "hard rock,ambient,acoustic,experimental,female vocalist,guitar,Hip-Hop,70s,party,country,easy listening,sexy,"
    "catchy,funk,electro,heavy metal,Progressive rock,60s,rnb,indie pop,sad,House,happy"
)
MAGNATAGATUNE = (
    "guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,ambient,beat,violin,vocal,synth,female,"
    "indian,opera,male,singing,vocals,no vocals,harpsichord,loud,quiet,flute,woman,male vocal,no vocal,pop,soft,sitar,"
    "solo,man,classic,choir,voice,new age,dance,male voice,female vocal,beats,harp,cello,no voice,weird,country,metal,"
    "female voice,choral"
)
TAGS: Mapping[str, tuple[str, ...]] = {
    "musicnn": tuple(LASTFM.split(",")),
    "musicnn_mtt": tuple(MAGNATAGATUNE.split(",")),
}
"""The tags of each encoder, in the order of its output."""

CHECKPOINTS = {"musicnn": "MSD_musicnn", "musicnn_mtt": "MTT_musicnn"}  # by encoder, in the wheel


def build(name: str, config: DatasetConfig, weights: str) -> "keras.Model":
    """Build one of the encoders of `TAGS` from the wheel; see `EncoderSpec.build`.

    Raises:
      UsageError: the dataset's rate cannot be resampled.
      FmaError: the wheel is damaged.
    """
    import keras

    from trainers.encoders.musicnn_network import RATE, ByWindow, MusicnnPatches
    from trainers.models.layers import resample

    windows = keras.Input(KINDS["raw"].shape(config), name="windows")
    patches = MusicnnPatches(name="patches")(resample(windows, config.sample_rate, RATE, name))
    return keras.Model(windows, ByWindow(load_network(weights, name), name="by_window")(patches), name=name)


def load_network(wheel: str, name: str) -> "keras.Model":
    """Load a trained network from the wheel: patches float32 [batch, 187, 96] -> {output: float32 [batch, n]}.

    Raises:
      FmaError: the wheel is damaged, or does not hold this network.
    """
    import tensorflow as tf

    from trainers.encoders.musicnn_network import build_network

    network = build_network()
    with temporary.new_folder() as folder:
        try:
            variables = tf.train.load_checkpoint(unpack(wheel, CHECKPOINTS[name], folder))
            for layer in network.layers:
                values = [variables.get_tensor(f"{layer.name}/{weight.name}") for weight in layer.weights]
                # A convolution over time has an axis of length 1 for the bands there.
                layer.set_weights([np.reshape(values[i], weight.shape) for i, weight in enumerate(layer.weights)])
        except (*KERAS_ERRORS, tf.errors.OpError) as error:
            raise FmaError(f"{wheel} does not hold the network of {name}: {first_line(error)}") from error
    return network


def unpack(wheel: str, checkpoint: str, folder: str) -> str:
    """Unpack one of the wheel's checkpoints into a folder and return its path there, as TensorFlow takes it.

    Its files have no names there, only endings.

    Raises:
      KeyError, ValueError, OSError, zipfile.BadZipFile: the wheel is damaged or does not hold it.
    """
    with storage.open_read(wheel) as file, zipfile.ZipFile(file) as members:
        for ending in (".index", ".data-00000-of-00001"):
            with open(os.path.join(folder, f"{checkpoint}{ending}"), "wb") as copy:
                copy.write(members.read(f"musicnn/{checkpoint}/{ending}"))
    return os.path.join(folder, checkpoint)


def _encoder(name: str) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        reads="raw",
        outputs={"tags": 50, "penultimate": 200, "max": 753, "mean": 753},
        weights=WEIGHTS[name],
        build=partial(build, name),
        version=ONE_LEVEL,
    )


ENCODERS = [_encoder(name) for name in TAGS]
"""For each patch of 3 s: the tags before the sigmoid, the last hidden layer, and over the patch's time the maxima and
the means of what all convolutions found."""
