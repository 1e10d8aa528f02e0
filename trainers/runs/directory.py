"""The run directory of a training run: its files, what the run was asked for, and how far it has come.

| file | what |
|---|---|
| config.json | id, model, options, seed, dataset (path, digest, config), labels, phases, versions; written once |
| state.json | how far training has come; replaced after every epoch, the only commit point (`trainers.runs.state`) |
| history.csv | a row for each finished epoch, for people and for other programs |
| backup/ | what the next epoch starts from: weights, optimizer and random state; kept for more epochs, too |
| model.keras | the model of the epoch that is kept (`RunState.best_epoch`); it takes records as they are stored |
| model.tflite.zip | the same as TFLite, for a quick start (`trainers.serving.lite`) |
| features/ | features of the frozen front of a transfer model, for the phases that train its head |
| logs/ | for TensorBoard |
| predictions/ | the model's predictions for each track of a split of its own dataset (`trainers.runs.predictions`) |
| novelty/ | what tells songs unlike all that the models were trained on (`trainers.runs.novelty`) |
| neighbours/ | the training tracks as the model sees them, for `fma serve --data` (`trainers.serving.neighbours`) |
| metrics.json | metrics of each split of the run's own dataset; `evaluations/` holds those of other datasets |
| folds/ | of a cross-validation of a network, in place of a model: a run for each fold, by number |
| robustness/ | answers for altered sound, by split (`trainers.serving.robustness`) |
| genres.json | with many genres for each track: thresholds and shares (`trainers.runs.genre_facts`) |

All but history.csv and logs/ carry a checksum (`trainers.runs.files`).
"""

import platform
import re
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from typing import Any, NotRequired, TypedDict

from trainers.runs.files import (
    CONFIG,
    ID,
    make_id,
    read_identity,
    read_json,
    report_damage,
    write_identity,
    write_json,
)
from trainers.runs.state import (
    BACKUP,
    BACKUP_FILES,
    BEST,
    PHASE_DEFAULTS,
    RunState,
    add_epochs,
    adds_epochs,
    load_state,
)
from transforms import storage
from transforms.config import DatasetConfig
from transforms.errors import FmaError, UsageError
from transforms.runtime import console
from transforms.runtime.invocation import command_line
from transforms.taxonomy import Taxonomy
from transforms.tracks import SPLITS

METRICS, EVALUATIONS, PREDICTIONS = "metrics.json", "evaluations", "predictions"
FEATURES, LOGS, LOCK = "features", "logs", ".lock"
FOLDS = "folds"  # of a cross-validation of a network: a run for each, by number

BASELINES = "baselines"  # `model` in the config.json of a run of `fma baselines`
BACKUP_NAME = re.compile(r"epoch-\d{4,}")
"""The form of the names of these folders."""
OPTION_DEFAULTS = {"loudness": False}
"""Options that the config.json of older runs lacks."""
BEFORE_CONFIG = {LOCK}
"""What may be left by a run that was killed before its config.json was written; other files are not ours."""

TENSORFLOWS = ("tensorflow", "tensorflow-tpu", "tensorflow-cpu")
"""Distributions that contain TensorFlow: a TPU VM has its own."""


class TrainedOn(TypedDict):
    """The dataset of a run: its path as given, its digest, its config as in dataset.json, and the encoders it took."""

    path: str
    digest: str
    config: dict[str, Any]
    encoders: NotRequired[dict[str, dict[str, Any]]]  # by name, as `EncoderFacts.to_json` gives them


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run was asked for; equal configs give the same run."""

    model: str  # name of the model
    options: dict[str, Any]  # every option that influences the result, by name
    seed: int  # of the weights, the order of the records, the augmentation and the dropout
    dataset: TrainedOn
    labels: list[str]  # genre names in the order of the model's outputs
    phases: list[dict[str, Any]]  # settings of each phase of training, in order
    made_with: dict[str, Any]  # device, replicas, precision and versions; not compared
    # where a track has many of the labels: the parent of each, "" at the top; None where it has one
    parents: dict[str, str] | None = None
    # of the run, part of its files' checksums: equal for equal configs, wherever the dataset lies; "" in version 0.1.0
    id: str = field(default="", compare=False)

    @property
    def many(self) -> bool:
        """Whether a track has many genres (`--labels all`), not one label (`--labels top`)."""
        return self.parents is not None

    @property
    def folds(self) -> int:
        """How many folds of a cross-validation its predictions are for, none by a model for new music; 0: no folds."""
        return self.options.get("folds", 0)

    @property
    def taxonomy(self) -> Taxonomy:
        """The tree of the labels; flat where a track has one."""
        return Taxonomy(self.parents or {})


def versions(*libraries: str) -> dict[str, str]:
    """Return the versions of Python and of libraries; by default those that a Keras model depends on."""
    if libraries:
        return {"python": platform.python_version()} | {name: metadata.version(name) for name in libraries}
    found = versions("keras", "numpy")
    for name in TENSORFLOWS:
        with suppress(metadata.PackageNotFoundError):
            return found | {"tensorflow": metadata.version(name)}
    return found


def open_run(run: str, config: RunConfig) -> RunState | None:
    """Return the state of a run with that config, or None where the run has yet to be created.

    A config that differs only by more epochs is that of the run, too; see `add_epochs`.

    Raises:
      UsageError: the folder holds something else, a run of another config, or a run on a dataset that has changed.
    """
    if not storage.exists(storage.join(run, CONFIG)):
        _check_is_free(run)
        return None
    state, have = load_state(run), load_config(run)
    have = replace(have, phases=state.phases or have.phases)
    different = differences(have, config)
    if adds_epochs(state, have.phases, config.phases) and not differences(replace(have, phases=config.phases), config):
        return add_epochs(run, state, have.phases, config.phases)
    if different:
        raise UsageError(
            f"{run} holds a run with other settings: {'; '.join(different)}. "
            "Give the same settings, or more epochs for its last phase, to carry on with it, or another --run"
        )
    return state


def _check_is_free(run: str) -> None:
    if not storage.exists(run):
        return
    if not storage.is_dir(run):
        raise UsageError(f"--run {run} is a file; give a folder")
    prefix = storage.join(run, "")
    found = {path.removeprefix(prefix).partition("/")[0] for path, _ in storage.list_files(run)}
    foreign = sorted(found - BEFORE_CONFIG)
    if foreign:
        raise UsageError(f"--run {run} is not empty and holds no run (it holds {', '.join(foreign[:3])}); give another")


def create_run(run: str, config: RunConfig) -> RunState:
    """Write config.json, which makes the folder a run; return the state at its start."""
    values = asdict(config)
    facts = values | {ID: "", "dataset": values["dataset"] | {"path": ""}}  # it may lie elsewhere the next time
    write_identity(run, CONFIG, values | {ID: make_id(facts)})
    return RunState()


def differences(have: RunConfig, want: RunConfig) -> list[str]:
    """Describe the settings that differ, with both values; the dataset's path and the versions do not count."""
    if have.model != want.model:
        return [f"model is {have.model}, not {want.model}"]  # options of two models have little in common
    found = [f"seed is {have.seed}, not {want.seed}"] if have.seed != want.seed else []
    if have.many != want.many:
        return [*found, f"labels are {_task(have)}, not {_task(want)}"]
    for name in sorted({*have.options, *want.options}):
        one, other = (options.get(name, OPTION_DEFAULTS.get(name)) for options in (have.options, want.options))
        if one != other:
            found.append(f"{name.replace('_', '-')} is {_text(one)}, not {_text(other)}")
    if have.dataset["digest"] != want.dataset["digest"]:
        found.append(
            f"the dataset is not the one that the run began with (digest {have.dataset['digest'][:12]}, "
            f"now {want.dataset['digest'][:12]})"
        )
    elif have.labels != want.labels:
        found.append(f"labels are {', '.join(have.labels)}, not {', '.join(want.labels)}")
    return found + _phase_differences(have.phases, want.phases)


def _phase_differences(have: list[dict[str, Any]], want: list[dict[str, Any]]) -> list[str]:
    have, want = ([PHASE_DEFAULTS | phase for phase in phases] for phases in (have, want))
    names, others = ([phase["name"] for phase in phases] for phases in (have, want))
    if names != others:
        return [f"the phases are {', '.join(names)}, not {', '.join(others)}"]
    of = "{} of phase {}" if len(have) > 1 else "{}"
    return [
        f"{of.format(key.replace('_', '-'), one['name'])} is {_text(one.get(key))}, not {_text(other.get(key))}"
        for one, other in zip(have, want, strict=True)
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    ]


def _task(config: RunConfig) -> str:
    return "all" if config.many else "top"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unset" if value is None else str(value)


def load_config(run: str) -> RunConfig:
    """Read config.json.

    Raises:
      UsageError: there is no run.
      FmaError: its config.json is damaged or from a newer version.
    """
    path = storage.join(run, CONFIG)
    if not storage.exists(path):
        raise UsageError(f"{run} is not a run: it has no {CONFIG} (make one with {command_line('train')})")
    values = read_identity(run, CONFIG)
    del values["format_version"]
    config = {ID: "", "parents": None} | values
    missing = {field.name for field in fields(RunConfig)} ^ set(config)
    if missing:
        raise FmaError(f"{path} is damaged: {', '.join(sorted(missing))}")
    with report_damage(path):
        _check_types(config)
    return RunConfig(**config)


def read_settings(run: str, config: RunConfig) -> DatasetConfig:
    """Return the settings of the dataset that a run was trained on, of its config.json; FmaError for damaged ones."""
    with report_damage(storage.join(run, CONFIG)):
        return DatasetConfig.from_json(config.dataset["config"])


def _check_types(config: dict[str, Any]) -> None:
    """Raise a TypeError where a value cannot have been written: config.json of version 0.1.0 has no checksum."""
    kinds = {"model": str, "options": dict, "seed": int, "dataset": dict, "labels": list, "phases": list}
    wrong = [name for name, kind in kinds.items() if not isinstance(config[name], kind)]
    wrong += [name for name in ("path", "digest") if not isinstance(config["dataset"].get(name), str)]
    wrong += ["labels"] * any(not isinstance(label, str) for label in config["labels"])
    parents = config["parents"]
    if parents is not None:
        Taxonomy(parents)  # fails where a genre is above itself
        wrong += ["parents"] * (set(parents) != set(config["labels"]))
    wrong += ["phases"] * any(
        not isinstance(phase, dict) or "name" not in phase or not isinstance(phase.get("epochs"), int)
        for phase in config["phases"]
    )
    if wrong:
        raise TypeError(f"its {wrong[0]} cannot be right")


def find_runs(given: list[str] | None, dataset: str) -> list[str]:
    """Return run folders, in order of their names: those given, or else those in the folder `runs` beside a dataset.

    Raises:
      UsageError: something that was given is neither a run nor a folder that holds any.
    """
    found = []
    for path in [storage.join(storage.parent(dataset), "runs")] if given is None else given:
        inside = [path] if is_run(path) else [storage.join(path, name) for name in storage.list_folders(path)]
        inside = [folder for folder in inside if is_run(folder)]
        if not inside and given is not None:
            raise UsageError(f"--runs {path}: neither a run nor a folder of runs")
        found += inside
    return found


def is_run(folder: str) -> bool:
    """Return whether a folder is a run."""
    return storage.exists(storage.join(folder, CONFIG))


def fold_path(run: str, number: int) -> str:
    """Return the run of a fold, counted from 1, of the cross-validation of a network."""
    return storage.join(run, FOLDS, str(number))


def check_trained(run: str) -> None:
    """Log a note where a run is not finished.

    Raises:
      UsageError: it has no model yet, or is a cross-validation.
    """
    check_no_folds(run, load_config(run))
    state = load_state(run)
    if not state.best_epoch:
        raise UsageError(f"{run} has no model yet: none of its epochs is finished; run {command_line('train')} again")
    if not state.finished:
        console.log(f"note: {run} is not finished; this is its model so far")


def check_no_folds(run: str, config: RunConfig) -> None:
    """Raise a UsageError for a cross-validation, and for the run of one of its folds."""
    if config.folds:
        command = command_line("baselines") if config.model == BASELINES else command_line("train", config.model)
        raise UsageError(
            f"{run} is a cross-validation: a model for each fold, and none of all music; fit one with {command} "
            "without --folds"
        )


def has_leftovers(run: str) -> bool:
    """Return whether there is anything that `remove_leftovers` would remove."""
    return any(storage.exists(storage.join(run, path)) for path in _leftovers(run))


def remove_leftovers(run: str) -> None:
    """Remove what is needed only while training goes on; files that training did not write stay.

    What more epochs would start from stays, too.
    """
    storage.remove_listed(run, _leftovers(run))


def _leftovers(run: str) -> list[str]:
    state = load_state(run)
    files = backup_files(run, keep=state.backup) + ([f"{BACKUP}/{state.backup}/{BEST}"] if state.backup else [])
    phases = [phase["name"] for phase in state.phases or load_config(run).phases]
    return files + [f"{FEATURES}/{phase}-{split}.npz" for phase in phases for split in SPLITS]


def backup_files(run: str, keep: str = "") -> list[str]:
    """Return the paths, relative to the run, of what may lie in the folders below `backup/`, except for that one."""
    names = [name for name in storage.list_folders(storage.join(run, BACKUP)) if BACKUP_NAME.fullmatch(name)]
    return [f"{BACKUP}/{name}/{file}" for name in names if name != keep for file in BACKUP_FILES]


def locked(run: str) -> AbstractContextManager[None]:
    """Keep other trainers away; the lock goes with its process, however that ends.

    Raises:
      FmaError: another process trains in this folder.
    """
    return storage.locked(run, f"another fma train is writing to {run}; wait for it or give another --run")


def read_metrics(run: str) -> dict[str, Any]:
    """Read metrics.json: metrics by split of the run's own dataset; {} before there are any.

    Raises:
      FmaError: it is damaged.
    """
    advice = f"remove it and run {command_line('evaluate')}, or baselines, again"
    return read_json(run, METRICS, advice) if storage.exists(storage.join(run, METRICS)) else {}


def write_metrics(run: str, metrics: dict[str, Any]) -> str:
    """Replace metrics.json; return its path."""
    return write_json(run, METRICS, metrics)


def write_evaluation(run: str, digest: str, split: str, metrics: dict[str, Any]) -> str:
    """Write metrics on the dataset with that digest below `evaluations/`; return the path."""
    return write_json(run, f"{EVALUATIONS}/{digest[:12]}-{split}.json", metrics)
