"""Doubt of classical models: a novelty for each feature group of a run, on the group's columns as they are."""

from collections.abc import Iterable, Mapping

import numpy as np

from trainers.classical.fusion import find_blocks
from trainers.classical.table import Table, group_columns
from trainers.evaluation.folds import artist_groups
from trainers.runs.novelty import fit_on_folds, read_novelty, write_novelty


def write_novelties(run: str, table: Table, groups: Iterable[str], rows: np.ndarray) -> None:
    """Fit and write that of each feature group, on the rows that models are fitted on; none where one artist has all.

    On the columns that the fusion takes, as they are: a model's PCA may leave out what is unusual of an unusual track.
    The limit comes from folds by artist.
    """
    artists = artist_groups(table)[rows]
    for group in groups:
        of_group = group_columns(table.columns, group)
        blocks = find_blocks([table.columns[at] for at in of_group], table.genres)
        taken = np.unique(np.concatenate(list(blocks.values())))
        found = fit_on_folds(table.values[rows][:, of_group], artists, taken)
        if found:
            write_novelty(run, group, found)


def measure_novelty(run: str, groups: Mapping[str, str], table: Table) -> dict[str, np.ndarray]:
    """Return how novel a table's tracks are for each model, float32 [tracks], where the run knows.

    `groups` has the feature group of each model.
    """
    of_groups = {group: read_novelty(run, group) for group in set(groups.values())}
    found = {
        group: novelty.of(table.values[:, group_columns(table.columns, group)]).astype(np.float32)
        for group, novelty in of_groups.items()
        if novelty
    }
    return {name: found[group] for name, group in groups.items() if group in found}
