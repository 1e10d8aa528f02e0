"""The models: one file and one row of `MODELS` each. Keras is imported when a model is built, not before."""

from trainers.models import mel_cnn
from trainers.models.spec import ModelSpec
from transforms.errors import UsageError

MODELS: dict[str, ModelSpec] = {model.name: model for model in (mel_cnn.SPEC,)}


def find(name: str) -> ModelSpec:
    """The row of a model.

    Raises:
      UsageError: there is none of that name.
    """
    if name not in MODELS:
        raise UsageError(f"unknown model {name}: there are {', '.join(MODELS)}")
    return MODELS[name]
