"""musicnn: a convolutional network that tags music, by the Music Technology Group, Universitat Pompeu Fabra.

Its wheel holds checkpoints of TensorFlow 1 that its own code can no longer read here: they are read into a network that
`trainers.encoders.musicnn_network` builds anew.
"""

import os
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from trainers.models.keras_file import KERAS_ERRORS
from trainers.models.pretrained import first_line
from transforms import storage
from transforms.encoders.facts import EncoderFacts
from transforms.errors import FmaError, UsageError
from transforms.runtime import temporary
from transforms.runtime.console import human_bytes
from transforms.runtime.invocation import command_line
from transforms.weights.cache import cached, is_here
from transforms.weights.table import find_weights

if TYPE_CHECKING:
    import keras

WEIGHTS = "musicnn"
"""The wheel, in the table of weights."""

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

CHECKPOINTS = {"musicnn": "MSD_musicnn", "musicnn_mtt": "MTT_musicnn"}
TRAINED_ON = {
    "musicnn": "Million Song Dataset, 50 tags of Last.fm",
    "musicnn_mtt": "MagnaTagATune, 50 tags of its listeners",
}


def build(name: str, sample_rate: int, samples: int) -> tuple["keras.Model", EncoderFacts]:
    """Build one of the encoders of `TAGS` for windows of so many samples at a sample rate in Hz.

    Returns:
      windows float32 [batch, samples] in [-1, 1) -> {output: float32 [batch, patches, dimensions]}; and its facts.

    Raises:
      UsageError: the weights are not here, or the rate cannot be resampled.
      FmaError: the file of the weights is damaged.
    """
    import keras

    from trainers.encoders import musicnn_network as musicnn
    from trainers.models import layers

    weights, wheel = find_weights(WEIGHTS), find_wheel()
    network = load_network(wheel, name)
    windows = keras.Input((samples,), name="windows")
    patches = musicnn.MusicnnPatches(name="patches")(layers.Resample(sample_rate, musicnn.RATE)(windows))
    outputs = musicnn.ByWindow(network, name="by_window")(patches)
    facts = EncoderFacts(
        name=name,
        reads="raw",
        sample_rate=sample_rate,
        outputs=dict(musicnn.OUTPUTS),
        sha256=weights.sha256,
        license=weights.license,
        trained_on=TRAINED_ON[name],
    )
    return keras.Model(windows, outputs, name=name), facts


def find_wheel() -> str:
    """Return the path of the wheel in the folder of weights. It is never fetched unasked.

    Raises:
      UsageError: it is not there.
    """
    weights = find_weights(WEIGHTS)
    if not is_here(weights):
        raise UsageError(
            f"the weights of musicnn ({human_bytes(weights.size)}, licence {weights.license}) are not here: "
            f"{command_line('weights', WEIGHTS)} fetches them"
        )
    return cached(weights)


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
