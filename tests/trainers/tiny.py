"""Models of a few weights, for tests of the training loop: they build and compile in a fraction of a second."""

from trainers.models import MODELS
from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, Phase, front_of


def build(model_input: ModelInput, classes: int, options: ModelOptions):
    """The mean of each band over time (mel), or of the square over eight stretches (raw), then a layer with dropout."""
    import keras
    from keras import layers

    inputs = keras.Input(model_input.shape)
    if len(model_input.shape) == 1:
        x = layers.AveragePooling1D(model_input.shape[0] // 8)(layers.Reshape((-1, 1))(inputs) ** 2)
        x = layers.Flatten()(x)
    else:
        x = layers.GlobalAveragePooling1D(data_format="channels_first")(inputs)
    x = layers.Dropout(0.2)(layers.Dense(8, activation="relu", name="hidden")(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x))


def build_transfer(model_input: ModelInput, classes: int, options: ModelOptions):
    """A front that gives the moments over time of four mixtures of the bands, and a head."""
    import keras
    from keras import layers

    from trainers.models.layers import attach_head, pool_moments

    inputs = keras.Input(model_input.shape)
    maps = layers.Dense(4, activation="relu", name="hidden")(layers.Permute((2, 1))(inputs))
    front = keras.Model(inputs, pool_moments([maps], (1,)), name="front")
    return attach_head(front, classes, options, name="tiny_transfer", dropout=0.1)


def train_head(model) -> None:
    front_of(model).trainable = False


def train_all(model) -> None:
    front_of(model).trainable = True


def freeze(model) -> None:
    model.get_layer("hidden").trainable = False


def thaw(model) -> None:
    model.get_layer("hidden").trainable = True


def phase(name: str = "train", **settings) -> Phase:
    return Phase(name, **{"epochs": 2, "learning_rate": 0.01, "batch_size": 8, "warmup_epochs": 0.5} | settings)


TINY = ModelSpec("tiny", "for tests", "mel", build, (phase(mixup=0.2, spec_augment=True, gain=True),))
TINY_RAW = ModelSpec("tiny_raw", "for tests", "raw", build, (phase(gain=True),))
TWO_PHASES = ModelSpec(
    "two_phases", "for tests", "mel", build, (phase("top", prepare=freeze), phase("all", prepare=thaw, epochs=3))
)

TRANSFER = ModelSpec(
    "tiny_transfer",
    "for tests",
    "mel",
    build_transfer,
    (
        phase("head", epochs=3, train="head", mixup=0.2, prepare=train_head),
        phase("fine", prepare=train_all, spec_augment=True),
    ),
)
POOLED = ModelSpec(
    "tiny_pooled",
    "for tests",
    "mel",
    build_transfer,
    (phase("head", epochs=3, learning_rate=0.1, train="head", prepare=train_head),),
    pool="track",
)


def register() -> None:
    """Makes `fma train` know these models, in this process."""
    for spec in (TINY, TINY_RAW, TWO_PHASES, TRANSFER, POOLED):
        MODELS[spec.name] = spec
