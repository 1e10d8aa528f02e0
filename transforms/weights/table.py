"""The published weights that models start from: one row of `WEIGHTS` each."""

from dataclasses import dataclass, replace

from transforms.errors import UsageError
from transforms.runtime.text import did_you_mean


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights as its authors publish it."""

    name: str  # a key of `WEIGHTS`
    url: str  # where its authors publish it; of a wheel its name, since pip knows where that lies
    size: int  # bytes
    sha256: str  # in hexadecimal, or "" where none is known: the size alone is then compared
    license: str
    network: str  # what it is, in a few words
    trained_on: str
    sample_rate: int | None  # Hz of the waveform that the network hears; None for one that sees images
    outputs: str  # what it gives, with the number of dimensions
    requirement: str = ""  # of pip, for a wheel

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


MUSICNN = Weights(
    "musicnn",
    "musicnn-0.1.0-py3-none-any.whl",
    29_292_476,
    "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    "ISC",
    "musicnn",
    "Million Song Dataset, 50 tags of Last.fm",
    16_000,
    "tags 50, penultimate 200, max 753, mean 753",
    requirement="musicnn==0.1.0",
)

WEIGHTS = {
    weights.name: weights
    for weights in (
        Weights(
            "yamnet",
            "https://storage.googleapis.com/audioset/yamnet.h5",
            15_296_092,
            "13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744",
            "Apache-2.0",
            "YAMNet",
            "AudioSet, 521 classes of sound",
            16_000,
            "embedding 1024, logits 521",
        ),
        Weights(
            "mobilenet_v2",
            "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            9_406_464,
            "",
            "Apache-2.0",
            "MobileNetV2, no top",
            "ImageNet, 1,000 classes of pictures",
            None,
            "block_6 192, block_9 384, out 1280",
        ),
        MUSICNN,
        replace(MUSICNN, name="musicnn_mtt", trained_on="MagnaTagATune, 50 tags"),
    )
}


def find_weights(name: str) -> Weights:
    """Return a row by its name.

    Raises:
      UsageError: there is none of that name.
    """
    if name not in WEIGHTS:
        hint = did_you_mean(name, WEIGHTS)
        raise UsageError(f"there are no weights of the name {name}{hint}; there are {', '.join(WEIGHTS)}")
    return WEIGHTS[name]
