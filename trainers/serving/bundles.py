"""A classical model on its own, as `fma export` writes it and `fma predict` takes it instead of a run.

| file | what |
|---|---|
| bundle.json | name, labels, the dataset's settings, the model's entry of metrics.json, versions; written last |
| model.skops | the fitted pipeline: scaler, PCA, classifier; loading it runs no code from it |
"""

from typing import Any

from trainers.classical.saving import load_model, save_model, warn_about_versions
from trainers.run_state import read_json, write_json
from trainers.serving.classical_scorer import ClassicalScorer
from trainers.serving.damage import reading
from transforms import storage
from transforms.config import DatasetConfig
from transforms.errors import FmaError, UsageError

BUNDLE, MODEL = "bundle.json", "model.skops"
FORMAT_VERSION = 1


def is_bundle(folder: str) -> bool:
    """Whether the folder holds a classical model that was exported."""
    return storage.exists(storage.join(folder, BUNDLE))


def write_bundle(out: str, scorer: ClassicalScorer, made_with: dict[str, Any]) -> None:
    """Writes a model to an empty folder."""
    save_model(out, MODEL, scorer.pipeline)
    entry = scorer.entry | {"fits": [scorer.entry["fits"][0] | {"file": MODEL}]}
    facts: dict[str, Any] = {"format_version": FORMAT_VERSION, "name": scorer.name, "labels": scorer.labels}
    settings = scorer.config.to_json()
    write_json(storage.join(out, BUNDLE), facts | {"config": settings, "entry": entry, "made_with": made_with})


def open_bundle(folder: str, model: str | None) -> ClassicalScorer:
    """Opens what `write_bundle` wrote; see `open_scorer`."""
    path = storage.join(folder, BUNDLE)
    values = read_json(path)
    version = values.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FmaError(f"{path} has format version {version}, this program reads {FORMAT_VERSION}: update fma-genres")
    with reading(path):
        name, labels, entry = values["name"], values["labels"], values["entry"]
        config, made_with = DatasetConfig.from_json(values["config"]), dict(values["made_with"])
    if model not in (None, name):
        raise UsageError(f"--model {model}: {folder} has {name}")
    warn_about_versions(folder, made_with)
    pipeline = load_model(folder, MODEL)
    with reading(path):
        return ClassicalScorer(name, pipeline, entry, labels, config, weights=storage.join(folder, MODEL))
