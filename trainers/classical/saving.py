"""The folder of a baselines run, written and read.

| file | what |
|---|---|
| config.json | options, seed, dataset (path and digest), labels, library versions; written first (`trainers.runs`) |
| models/NAME.skops | each fitted pipeline; a run of several folds has NAME-fold1.skops, ... |
| search.csv | every candidate with its validation results |
| predictions/test.npz | test predictions (`trainers.run_predictions`) |
| metrics.json | {"models": {name: {"per_track": ..., "fits": [...]}}}; written last, so a run that has it is done |

Pipelines are saved with skops, not pickle: loading such a file runs no code from it, so that a model from somebody else
can be opened. The exact versions are in config.json.
"""

import csv
import io
import json
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from transforms import storage
from transforms.errors import FmaError
from transforms.runtime import console

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from trainers.classical.search import Fitted

MODELS, SEARCH = "models", "search.csv"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "joblib", "skops")
"""That a saved model depends on."""


def model_file(name: str, fold: int, folds: int) -> str:
    """A model's path in the run."""
    return storage.join(MODELS, f"{name}.skops" if folds == 1 else f"{name}-fold{fold + 1}.skops")


def save_model(run: str, path: str, pipeline: "Pipeline") -> None:
    """Writes a fitted pipeline."""
    import skops.io

    storage.write_bytes(storage.join(run, path), skops.io.dumps(pipeline))


def load_model(run: str, path: str) -> "Pipeline":
    """Reads a fitted pipeline.

    Raises:
      FmaError: the file is missing, damaged, or holds types that a pipeline of ours does not.
    """
    import zipfile

    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    path = storage.join(run, path)
    try:
        with warnings.catch_warnings():
            # `warn_about_versions` says it once for a run, in one line.
            warnings.filterwarnings("ignore", message="Trying to unpickle|.*version")
            return skops.io.loads(storage.read_bytes(path))
    except FileNotFoundError as error:
        raise FmaError(f"{path} is missing: run fma baselines again with another --run") from error
    except UntrustedTypesFoundException as error:
        raise FmaError(f"{path} is not one of our models, and is not loaded: {error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise FmaError(f"{path} is damaged ({error}): run fma baselines again with another --run") from error


def warn_about_versions(run: str, made_with: dict[str, Any]) -> None:
    """Says so where scikit-learn is not the version that the run's models were fitted with."""
    have, had = metadata.version("scikit-learn"), made_with.get("scikit-learn")
    if have != had:
        console.log(f"{run} was fitted with scikit-learn {had}, this is {have}: predictions may differ")


def write_search(run: str, results: Sequence[tuple[str, "Fitted"]]) -> None:
    """Writes search.csv: a row for each candidate of each named result."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "fold", "params", "accuracy", "log_loss", "temperature", "converged", "chosen"))
    for name, fitted in results:
        for trial in fitted.trials:
            numbers = (f"{trial.accuracy:.6g}", f"{trial.log_loss:.6g}", f"{trial.temperature:.6g}")
            state = (int(trial.converged), int(trial is fitted.chosen))
            writer.writerow((name, fitted.job.fold + 1, json.dumps(trial.params), *numbers, *state))
    storage.write_bytes(storage.join(run, SEARCH), text.getvalue().encode())
