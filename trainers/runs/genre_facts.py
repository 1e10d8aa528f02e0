"""What a run with many genres for each track knows of them: genres.json, for all that predicts with its models."""

from dataclasses import dataclass

import numpy as np

from trainers.runs.files import read_json, report_damage, write_json
from transforms import storage
from transforms.runtime.invocation import command_line

GENRES = "genres.json"


@dataclass(frozen=True, eq=False)
class GenreFacts:
    """What is known of the genres of a run, in the order of its labels."""

    prior: np.ndarray  # float64 [genres], the share of training tracks that have each
    thresholds: dict[str, np.ndarray]  # {model: float64 [genres]}: a genre is predicted from that probability on


def write_genre_facts(run: str, facts: GenreFacts) -> str:
    """Replace a run's genres.json; return its path."""
    thresholds = {model: values.tolist() for model, values in facts.thresholds.items()}
    return write_json(run, GENRES, {"prior": facts.prior.tolist(), "thresholds": thresholds})


def read_genre_facts(run: str) -> GenreFacts:
    """Read a run's genres.json.

    Raises:
      FmaError: it is missing or damaged.
    """
    advice = f"restore it from a copy, or run {command_line('train')}, or baselines, again in another folder"
    values = read_json(run, GENRES, advice)
    with report_damage(storage.join(run, GENRES)):
        thresholds = {model: np.array(found, np.float64) for model, found in values["thresholds"].items()}
        return GenreFacts(np.array(values["prior"], np.float64), thresholds)
