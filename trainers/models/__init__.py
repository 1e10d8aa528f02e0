"""The models: one file and one row of `MODELS` each. Keras is imported when a model is built, not before."""

from trainers.models import mel_cnn, mobilenet_v2, waveform_cnn, waveform_resnet, yamnet
from trainers.models.spec import ModelSpec
from transforms.errors import UsageError

_FILES = (waveform_cnn, waveform_resnet, mobilenet_v2, mel_cnn, yamnet)
MODELS: dict[str, ModelSpec] = {file.SPEC.name: file.SPEC for file in _FILES}


def find_model(name: str) -> ModelSpec:
    """Return the row of a model.

    Raises:
      UsageError: there is none of that name.
    """
    if name not in MODELS:
        raise UsageError(f"unknown model {name}: there are {', '.join(MODELS)}")
    return MODELS[name]
