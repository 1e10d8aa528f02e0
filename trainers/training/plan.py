"""The plan of a training run: a model's own settings, the user's and the dataset's, put together and checked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from trainers.classical.features import read_features
from trainers.data.pipeline import find_shards
from trainers.data.selection import Splits
from trainers.data.targets import Targets, choose_min_tracks, parents_of
from trainers.evaluation.folds import can_choose
from trainers.models import find_model
from trainers.models.spec import ModelOptions, ModelSpec, Phase
from trainers.runs.directory import RunConfig, fold_path, is_run, load_config, versions
from trainers.runs.state import PHASE_DEFAULTS
from transforms.dataset.manifest import Manifest, load
from transforms.errors import UsageError

if TYPE_CHECKING:
    from trainers.training.objective import Jit

CACHES = ("auto", "on", "off", "device")
MIXUP_ALPHA = 0.2
HELD_OUT = ("validation", "test")
BEGUN_WITH = ("loudness", "degrade", "gain")
"""Options whose default has changed; see `keep_to_begun`."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What a user asks `fma train` for; None leaves a setting to the model."""

    model: str  # its name
    data: str  # path of the dataset
    run: str  # the run directory
    labels: Literal["top", "all"] = "top"  # one label for each track, or all of its genres
    min_tracks: int | None = None  # training tracks that a genre needs to be learned, of "all"; see `choose_min_tracks`
    seed: int = 0  # of weights, order, augmentation, dropout and folds
    folds: int | None = None  # of a cross-validation over all tracks, by artist; None: the dataset's splits
    device: str = "auto"  # one of `trainers.training.devices.DEVICES`
    backend: str = "tensorflow"  # of Keras, one of `trainers.training.devices.BACKENDS`
    coordinator: str | None = None  # this and the next two: see `trainers.training.cluster.Membership`
    processes: int | None = None
    process: int | None = None
    jit: "Jit" = "auto"  # whether XLA compiles the training step
    # whether the records of a split are kept in memory from the first epoch on, or those of training on the device
    cache: Literal["auto", "on", "off", "device"] = "auto"
    epochs: tuple[int, ...] | None = None  # one number for every phase, or one for each; 0 skips a phase
    learning_rate: tuple[float, ...] | None = None  # one for every phase, or one for each
    batch_size: int | None = None  # this and the next four: for every phase; see `Phase`
    label_smoothing: float | None = None
    class_weights: str | None = None
    patience: int | None = None
    weight_decay: float | None = None
    no_augment: bool = False  # switches off all augmentation that is not switched on by name
    spec_augment: bool | None = None  # this and the next three: switch one augmentation on or off
    mixup: bool | None = None
    gain: bool | None = None
    degrade: bool | None = None
    weights: str = ""  # this and the next four: see `ModelOptions`
    dropout: float | None = None
    width: float | None = None
    image_size: int | None = None
    loudness: bool | None = None


@dataclass(frozen=True)
class Plan:
    """What is trained on what, and how; `config` is the config.json to be, without the device."""

    options: TrainOptions
    spec: ModelSpec
    phases: tuple[Phase, ...]
    model_options: ModelOptions
    manifest: Manifest
    config: RunConfig
    targets: Targets | None  # of tracks with many genres; None for one label a track
    splits: Splits | None = None  # of a fold; None: the dataset's own


def make_plan(options: TrainOptions) -> Plan:
    """Put the model's own settings, the user's and the dataset's together.

    Raises:
      UsageError: the model is unknown, a setting does not fit it, or there is no dataset.
    """
    spec = find_model(options.model)
    options = keep_to_begun(options, spec)
    phases, model_options = choose_phases(spec, options), choose_model_options(spec, options)
    if options.cache == "device" and all(phase.train == "head" for phase in phases):
        raise UsageError(f"--cache device keeps records for training, and of {spec.name} only the head is trained")
    manifest = load(options.data)
    targets = choose_targets(options, manifest)
    config = RunConfig(
        model=spec.name,
        options=_describe_options(options, model_options),
        seed=options.seed,
        dataset={"path": options.data, "digest": manifest.digest, "config": manifest.config.to_json()},
        labels=targets.genres if targets else list(manifest.labels),
        phases=[describe_phase(phase) for phase in phases],
        made_with=versions(),
        parents=parents_of(targets.genres, manifest.genres) if targets else None,
    )
    return Plan(options, spec, phases, model_options, manifest, config, targets)


def keep_to_begun(options: TrainOptions, spec: ModelSpec) -> TrainOptions:
    """Return the options, with what was the default when a run began, where none are given, so that it can go on.

    Before format version 4, loudness was left as it is, and models of raw trained with random gain; `degrade` was off
    for longer. A cross-validation is what its first fold is.
    """
    if not is_run(options.run):
        return options
    config, before = load_config(options.run), dict[str, Any]()
    if config.folds and is_run(first := fold_path(options.run, 1)):
        config = load_config(first)
    if config.phases and not any((PHASE_DEFAULTS | phase)["degrade"] for phase in config.phases):
        before["degrade"] = False
    if "loudness" not in config.options:
        on_raw = spec.kind == "raw" and all(phase.train == "model" for phase in spec.phases)
        before |= {"loudness": False, "gain": True if on_raw and not options.no_augment else None}
    return replace(options, **{name: value for name, value in before.items() if getattr(options, name) is None})


def choose_targets(options: TrainOptions, manifest: Manifest) -> Targets | None:
    """Return the genres to learn of each track, those with enough training tracks; None for one label a track.

    Raises:
      UsageError: no genre has enough.
      FmaError: a ledger is missing or damaged.
    """
    least = choose_min_tracks(options.labels, options.min_tracks)
    if least is None:
        return None
    targets = Targets.read(options.data, manifest, least)
    if not targets.genres:
        raise UsageError(f"no genre of {options.data} has {least:,} training tracks: give fewer as --min-tracks")
    return targets


def _describe_options(options: TrainOptions, model_options: ModelOptions) -> dict[str, Any]:
    found = {name: value for name, value in asdict(model_options).items() if name not in ("seed", "many")}
    found |= {"folds": options.folds} if options.folds else {}
    least = choose_min_tracks(options.labels, options.min_tracks)
    return found if least is None else found | {"labels": "all", "min_tracks": least}


def check_dataset(plan: Plan) -> None:
    """Refuse a dataset that cannot be trained on, before TensorFlow is imported.

    Raises:
      UsageError: the records are of another kind, there is no training split, or one genre only.
      FmaError: a shard is missing.
    """
    dataset, manifest, kind, labels = plan.options.data, plan.manifest, plan.spec.kind, plan.options.labels
    find_shards(dataset, manifest, kind, None if plan.options.folds else "training", labels)
    if labels == "top" and len(manifest.labels) < 2:
        raise UsageError(f"{dataset} has one genre only ({manifest.labels[0]}): there is nothing to tell apart")


def can_choose_epoch(plan: Plan) -> bool:
    """Return whether the validation split has enough tracks to end training early by, and to choose the best epoch.

    Where it has not, choosing is worse than keeping the last epoch's model (docs/train.md). Of many genres for each
    track, any validation split is enough.

    Raises:
      FmaError: a ledger is missing or damaged.
    """
    options, manifest = plan.options, plan.manifest
    if plan.splits:
        return can_choose(plan.splits["training"].label, plan.splits["validation"].label)
    if options.labels == "all":
        return bool(manifest.shards(plan.spec.kind, "validation", "all"))
    table = read_features(options.data, manifest, ())
    return can_choose(table.labels[table.rows("training")], table.labels[table.rows("validation")])


def choose_model_options(spec: ModelSpec, options: TrainOptions) -> ModelOptions:
    """Return the model's options; UsageError where weights are given to a model that takes none."""
    if options.weights and spec.default_weights is None:
        raise UsageError(f"{spec.name} takes no --weights: it is trained from scratch")
    given = _given(options, "dropout", "width", "image_size", "loudness")
    weights, many = options.weights or spec.default_weights or "", options.labels == "all"
    return ModelOptions(weights=weights, seed=options.seed, many=many, **given)


def choose_phases(spec: ModelSpec, options: TrainOptions) -> tuple[Phase, ...]:
    """Return the model's phases with the user's settings; a phase of 0 epochs is left out.

    Raises:
      UsageError: a setting does not fit the model.
    """
    choose_min_tracks(options.labels, options.min_tracks)  # refused before the dataset is read
    if options.labels == "all" and options.label_smoothing:
        raise UsageError("--label-smoothing is for one label a track: leave it out with --labels all")
    if options.spec_augment and spec.kind != "mel":
        raise UsageError(f"--spec-augment masks mel images, and {spec.name} reads {spec.kind}")
    epochs = _for_each_phase("--epochs", options.epochs, spec)
    rates = _for_each_phase("--learning-rate", options.learning_rate, spec)
    phases = (
        _change(phase, options, {"epochs": count, "learning_rate": rate})
        for phase, count, rate in zip(spec.phases, epochs, rates, strict=True)
    )
    kept = tuple(phase for phase in phases if phase.epochs)
    if not kept:
        raise UsageError("--epochs: at least one phase needs epochs")
    return kept


def _for_each_phase(option: str, values: Sequence | None, spec: ModelSpec) -> list:
    if values is None:
        return [None] * len(spec.phases)
    if len(values) not in (1, len(spec.phases)):
        names = ", ".join(phase.name for phase in spec.phases)
        raise UsageError(f"{option}: {len(values)} numbers for {len(spec.phases)} phases of {spec.name} ({names})")
    return list(values) if len(values) > 1 else [values[0]] * len(spec.phases)


def _change(phase: Phase, options: TrainOptions, changes: dict[str, Any]) -> Phase:
    changes = {name: value for name, value in changes.items() if value is not None}
    if options.labels == "all":
        changes["label_smoothing"] = 0.0
    if options.no_augment:
        changes |= {"spec_augment": False, "mixup": 0.0, "gain": False, "degrade": False}
    changes |= _given(options, "batch_size", "label_smoothing", "patience", "weight_decay", "class_weights")
    changes |= _given(options, "spec_augment", "gain", "degrade")
    if options.mixup is not None:
        changes["mixup"] = (phase.mixup or MIXUP_ALPHA) if options.mixup else 0.0
    return replace(phase, **changes)


def _given(options: TrainOptions, *names: str) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def describe_phase(phase: Phase) -> dict[str, Any]:
    """Return a phase as plain values for config.json."""
    values = asdict(phase)
    del values["prepare"]  # a function, and the model's own
    return values
