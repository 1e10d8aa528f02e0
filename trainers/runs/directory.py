"""The run directory: what a training run was asked for, how far it has come, and what it made.

| file | what |
|---|---|
| config.json | model, options, seed, dataset (path, digest, config), labels, phases, device, versions; written once |
| state.json | how far training has come; replaced after every epoch and the one commit point of the run |
| history.csv | a row for each finished epoch |
| backup/ | what the next epoch starts from: weights, optimizer and random state |
| model.keras | the model with the weights of the best epoch |
| transform_fn/ | the graph of the full-pass statistics that it was trained with |
| features/ | what the frozen front of a transfer model made of the records, for the phases that train its head |
| logs/ | for TensorBoard |
| predictions/ | what the model says about each track of a split of its own dataset (`trainers.runs.predictions`) |
| neighbours/ | the training tracks as the model sees them, for `fma serve --data` (`trainers.serving.neighbours`) |
| metrics.json | metrics of each split of the run's own dataset; `evaluations/` holds those of other datasets |
"""

import platform
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from typing import Any

from trainers.runs.state import BACKUP, RunState, load_state, read_json, report_damage, write_json
from transforms import storage
from transforms.dataset.manifest import TRANSFORM_FN
from transforms.errors import FmaError, UsageError, check_format_version

FORMAT_VERSION = 1
CONFIG, MODEL, METRICS, EVALUATIONS = "config.json", "model.keras", "metrics.json", "evaluations"
FEATURES, LOGS, LOCK, PREDICTIONS = "features", "logs", ".lock", "predictions"
LEFTOVERS = (BACKUP, FEATURES)
BEFORE_CONFIG = {TRANSFORM_FN, LOCK}
"""What a run leaves that is killed before it has its config.json; anything else is somebody else's."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a run was asked for; equal configs give the same run.

    Attributes:
      model: name of the model.
      options: every option that has a say in the result, by name.
      seed: of the weights, the order of the records, the augmentation and the dropout.
      dataset: `path` as given, `digest`, and `config` as in dataset.json.
      labels: genre names in the order of the model's outputs.
      phases: settings of each phase of training, in order.
      made_with: device, replicas, precision and versions; not compared.
    """

    model: str
    options: dict[str, Any]
    seed: int
    dataset: dict[str, Any]
    labels: list[str]
    phases: list[dict[str, Any]]
    made_with: dict[str, Any]


TENSORFLOWS = ("tensorflow", "tensorflow-tpu", "tensorflow-cpu")
"""The distributions that hold TensorFlow: a TPU VM has one of its own."""


def versions(*libraries: str) -> dict[str, str]:
    """Of Python and of libraries; of those that a Keras model depends on where none is given."""
    if libraries:
        return {"python": platform.python_version()} | {name: metadata.version(name) for name in libraries}
    found = versions("keras", "numpy")
    for name in TENSORFLOWS:
        with suppress(metadata.PackageNotFoundError):
            return found | {"tensorflow": metadata.version(name)}
    return found


def open_run(run: str, config: RunConfig) -> RunState | None:
    """How far a run of that config has come in the folder, or None where it is to be created.

    Raises:
      UsageError: the folder holds something else, a run of another config, or a run on a dataset that has changed.
    """
    if not storage.exists(storage.join(run, CONFIG)):
        _refuse_foreign(run)
        return None
    different = differences(load_config(run), config)
    if different:
        raise UsageError(
            f"{run} holds a run with other settings: {'; '.join(different)}. "
            "Give the same settings to carry on with it, or another --run"
        )
    return load_state(run)


def _refuse_foreign(run: str) -> None:
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
    """Begins a run: writes its config.json, after whatever else a run starts with."""
    write_json(storage.join(run, CONFIG), {"format_version": FORMAT_VERSION} | asdict(config))
    return RunState()


def differences(have: RunConfig, want: RunConfig) -> list[str]:
    """The settings that differ, each with both values; not where the dataset lies or what it was made with."""
    if have.model != want.model:
        return [f"model is {have.model}, not {want.model}"]  # options of two models have little in common
    found = [f"seed is {have.seed}, not {want.seed}"] if have.seed != want.seed else []
    for name in sorted({*have.options, *want.options}):
        one, other = have.options.get(name), want.options.get(name)
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


BEFORE = {"class_weights": "balanced"}
"""Settings of phases that older runs do not name, and what they were then."""


def _phase_differences(have: list[dict[str, Any]], want: list[dict[str, Any]]) -> list[str]:
    have, want = ([BEFORE | phase for phase in phases] for phases in (have, want))
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


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unset" if value is None else str(value)


def load_config(run: str) -> RunConfig:
    """Reads config.json.

    Raises:
      UsageError: there is no run.
      FmaError: its config.json is damaged or from a newer version.
    """
    path = storage.join(run, CONFIG)
    if not storage.exists(path):
        raise UsageError(f"{run} is not a run: it has no {CONFIG} (make one with fma train)")
    values = read_json(path)
    with report_damage(path):
        check_format_version(path, values, FORMAT_VERSION)
    del values["format_version"]
    missing = {field.name for field in fields(RunConfig)} ^ set(values)
    if missing:
        raise FmaError(f"{path} is damaged: {', '.join(sorted(missing))}")
    return RunConfig(**values)


def has_leftovers(run: str) -> bool:
    """Whether there is anything that `remove_leftovers` would remove."""
    return any(storage.exists(storage.join(run, name)) for name in LEFTOVERS)


def remove_leftovers(run: str) -> None:
    """Removes what only a run that goes on needs."""
    for name in LEFTOVERS:
        storage.remove_tree(storage.join(run, name))


def read_metrics(run: str) -> dict[str, Any]:
    """metrics.json: metrics by split of the run's own dataset; {} before there are any."""
    path = storage.join(run, METRICS)
    return read_json(path) if storage.exists(path) else {}


def write_metrics(run: str, metrics: dict[str, Any]) -> None:
    """Replaces metrics.json."""
    write_json(storage.join(run, METRICS), metrics)


def write_evaluation(run: str, digest: str, split: str, metrics: dict[str, Any]) -> str:
    """Writes metrics on another dataset below `evaluations/`; returns the path."""
    path = storage.join(run, EVALUATIONS, f"{digest[:12]}-{split}.json")
    write_json(path, metrics)
    return path


def locked(run: str) -> AbstractContextManager[None]:
    """Keeps a second trainer away; the lock goes with its process, however that ends.

    Raises:
      FmaError: another process trains in this folder.
    """
    return storage.locked(run, f"another fma train is writing to {run}; wait for it or give another --run")
