"""Songs, a dataset ingested from them, and runs whose weights are random: a model need not be good to be served."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import soundfile

import fma
from tests.conftest import tone
from tests.trainers.small_models import OPTIONS, fake_yamnet
from tests.trainers.synthetic import CONFIG
from trainers.data.inputs import Inputs
from trainers.models import find_model
from trainers.models.genre_output import add_genre_output
from trainers.models.records import add_normalization, network_of
from trainers.models.spec import ModelInput, ModelOptions, ModelSpec, head_of, standardise
from trainers.runs.directory import RunConfig, create_run
from trainers.runs.genre_facts import GenreFacts, write_genre_facts
from trainers.runs.normalization import find_normalization
from trainers.runs.state import MODEL, RunState, save_state
from trainers.serving.keras_scorer import Network
from trainers.training import checkpoint
from transforms.dataset.build import ShardBuilder
from transforms.dataset.generation import Generation
from transforms.dataset.manifest import Manifest, commit, load
from transforms.dataset.plan import make_plan
from transforms.taxonomy import Vocabulary
from transforms.tracks import Track

SETTINGS = replace(CONFIG, features=("mel", "raw", "stats"))
"""Windows of 16,384 samples, 0.74 s."""

GENRES = ["Folk", "Rock"]
SPLITS = ["training"] * 6 + ["validation"] * 4 + ["test"] * 4
ENDINGS = ("mp3", "wav", "ogg", "flac")


def write_songs(folder: Path) -> list[Track]:
    """Fourteen songs of 2.6 to 3.9 s in four formats, two rates, mono and stereo."""
    folder.mkdir(parents=True)
    tracks = []
    for i, split in enumerate(SPLITS):
        path = folder / f"{i:03d}.{ENDINGS[i % len(ENDINGS)]}"
        rate = (44_100, 22_050)[i // 2 % 2]
        soundfile.write(path, tone(2.6 + 0.1 * i, rate, 1 + i // 3 % 2, hz=150 + 60 * i, seed=i), rate)
        words = {"title": f"Song {i} <b>&", "artist": f"Artist {i}", "license": "CC0"}
        tracks.append(Track(i, GENRES[i % 2], split, str(path), size=path.stat().st_size, **words))
    return tracks


def ingest(dataset: Path, tracks: list[Track]) -> Manifest:
    """Writes a dataset with ingestion's own shard builder, without a runner around it."""
    builder = ShardBuilder(str(dataset), "0001-songs", Vocabulary(tuple(GENRES), tuple(GENRES)), SETTINGS)
    try:
        results = [builder.build(plan) for plan in make_plan(tracks, SETTINGS, 1)]
    finally:
        builder.close()
    assert not [result.error for result in results if result.error]
    manifest = Manifest(SETTINGS, GENRES, [Generation.from_results("0001-songs", "", {}, {}, results)])
    commit(str(dataset), manifest)
    return manifest


def write_run(
    run: Path,
    model: str,
    dataset: Path,
    analysed: Path,
    labels: Sequence[str] = GENRES,
    *,
    tree: dict[str, str] | None = None,
) -> Path:
    """A finished run of a small model with random weights, normalised by the statistics of `analysed`.

    With a tree, a track has many of its genres.
    """
    labels = list(tree) if tree else labels
    spec, manifest, labels = find_model(model), load(str(dataset)), list(labels)
    weights = {"yamnet": str(run.parent / "yamnet.keras"), "mobilenet_v2": "none"}.get(model, "")
    if model == "yamnet":
        fake_yamnet(Path(weights))
    keras.utils.set_random_seed(1)
    network = spec.build(
        ModelInput.of(spec.kind, SETTINGS), len(labels), ModelOptions(weights=weights, many=tree is not None, **OPTIONS)
    )
    if tree:
        parents = [labels.index(parent) if parent else -1 for parent in tree.values()]
        network = add_genre_output(network, parents, np.full(len(labels), 0.3), 100)
    known = {"path": str(dataset), "digest": manifest.digest, "config": SETTINGS.to_json()}
    create_run(str(run), RunConfig(model, {}, 0, known, labels, [], {}, tree))
    found = find_normalization(str(analysed), load(str(analysed)), "mel") if spec.kind == "mel" else None
    model = add_normalization(network, spec.kind, SETTINGS, found, loudness=True)
    decide(spec, model, Inputs(str(dataset), manifest, spec.kind))
    checkpoint.write_model(str(run), MODEL, model, epoch=1)
    if tree:
        write_genre_facts(str(run), GenreFacts(np.full(len(labels), 0.3), {spec.name: np.full(len(labels), 0.4)}))
    save_state(str(run), RunState(epoch=1, best_epoch=1, phase_done=True, finished="for tests"))
    return run


def decide(spec: ModelSpec, model: keras.Model, inputs: Inputs) -> None:
    """Sets the last layer so that the logits of the training songs have mean 0 and deviation 1, or about."""
    (batch,) = inputs.read("training", 64)
    network = network_of(model)
    features = np.asarray(Network(spec, model).windows(batch["input"])[1])[batch["weight"].numpy() > 0]
    *_, kernel, bias = (weight for weight in network.weights if weight.path.endswith(("kernel", "bias")))
    strength = 1.0
    if any(layer.name == "front" for layer in network.layers):
        strength = {"window": 0.1, "track": 0.01}[spec.pool]  # moments of other songs reach far beyond those of a few
        standardise(head_of(network), features)
        features = np.asarray(head_of(network).get_layer("standardise")(features))
    deviation = features.std(axis=0)
    # Units that hardly ever sound would make a song that wakes them up certain of anything.
    heard = (np.abs(features) > 0.1 * np.abs(features).max(axis=0)).mean(axis=0) > 0.2
    scale = strength * np.where(heard & (deviation > 1e-9), 1 / np.maximum(deviation, 1e-9), 0) / np.sqrt(heard.sum())
    weights = np.random.default_rng(3).normal(size=kernel.shape) * scale[:, None]
    kernel.assign(weights.astype("float32"))
    bias.assign(-(features.mean(axis=0) @ weights).astype("float32"))


def evaluate(run: Path, dataset: Path) -> None:
    """Stores the run's predictions for validation and test, as `fma evaluate` computes them from the shards."""
    for split in ("validation", "test"):
        assert fma.main(["evaluate", str(run), "--data", str(dataset), "--split", split, "--json"]) == 0
