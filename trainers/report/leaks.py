"""The leak audit: what stands on both sides of a split, and what a random split by window would have claimed."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainers.evaluation.metrics import RESAMPLES, bootstrap
from trainers.report.html import (
    Content,
    Html,
    bullets,
    count,
    element,
    folded,
    fragment,
    listing,
    paragraph,
    percent,
    percents,
    section,
    table,
)
from transforms import storage
from transforms.audio.mel import LogMel, dequantize
from transforms.dataset.leaks import Leak
from transforms.dataset.manifest import Manifest, ShardFile
from transforms.errors import UsageError
from transforms.records.schema import decode_payload, deserialize
from transforms.records.tfrecord import read_records
from transforms.runtime import console

MODEL = "logistic regression on standardised features, C = 1"
MOST_TRACKS = 1000
"""More tracks make the experiment slower, and hardly more certain."""

REPEATS = 5
SHARE = 0.8
"""Of the windows, for training, in the split that is often seen."""


@dataclass(frozen=True)
class Windows:
    """Features of windows.

    Attributes:
      features: float32 [n, 2 * bands], mean and standard deviation over time, in dB.
      label, track_id: int64 [n].
      split: str [n].
      kind: of the records that they were computed from.
    """

    features: np.ndarray
    label: np.ndarray
    track_id: np.ndarray
    split: np.ndarray
    kind: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What one way of dividing the windows claims.

    Attributes:
      name: of the way.
      accuracy: by window, the mean over the repeats.
      spread: (low, high), a 95% interval for one split, else the range of the repeats.
      training, test: windows in each.
      known: share of the test windows whose track has windows in training.
      repeats: how many random splits.
    """

    name: str
    accuracy: float
    spread: tuple[float, float]
    training: int
    test: int
    known: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Leakage:
    """The experiment's result.

    Attributes:
      claims: the official split first, the random split by window last.
      model: in words.
      kind: of the records that were read.
      bands: mel bands.
      tracks: that took part.
      of_tracks: in the dataset.
    """

    claims: list[Claim]
    model: str
    kind: str
    bands: int
    tracks: int
    of_tracks: int


Divide = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""A generator -> row numbers of training and of test."""


def measure(dataset: str, manifest: Manifest, seed: int = 0) -> Leakage:
    """Runs the experiment; equal datasets and seeds give equal results.

    Raises:
      UsageError: the dataset has no windows, or no training or test split.
      FmaError: a shard is damaged.
    """
    windows = read_windows(dataset, manifest)
    tracks = len(np.unique(windows.track_id))
    claims = claims_of(windows, seed)
    return Leakage(claims, MODEL, windows.kind, manifest.config.n_mels, tracks, manifest.totals["tracks"])


def claims_of(windows: Windows, seed: int = 0) -> list[Claim]:
    """What each way of dividing the windows claims; the dataset's own split first."""
    claims = [official(windows)]
    ways: list[tuple[str, Divide]] = [
        ("by track at random, same sizes", lambda rng: by_track(windows, rng)),
        ("by window at random, same sizes", lambda rng: by_window(windows, rng, *_sizes(windows))),
        (f"by window at random, {SHARE:.0%} to train", lambda rng: by_window(windows, rng, *_shares(windows))),
    ]
    with console.progress("leakage", len(ways) * REPEATS, "fits") as progress:
        for name, divide in ways:
            accuracies = []
            for repeat in range(REPEATS):
                training, test = divide(np.random.default_rng((seed, repeat)))
                accuracies.append(float(fit_and_score(windows, training, test).mean()))
                progress.advance()
            known = float(np.isin(windows.track_id[test], windows.track_id[training]).mean())
            mean, spread = float(np.mean(accuracies)), (min(accuracies), max(accuracies))
            claims.append(Claim(name, mean, spread, len(training), len(test), known, REPEATS))
    return claims


def official(windows: Windows) -> Claim:
    """The dataset's own split: trained on training, tested on test."""
    training, test = (np.flatnonzero(windows.split == split) for split in ("training", "test"))
    hits = fit_and_score(windows, training, test).astype(np.float64)
    _, of_window = np.unique(windows.track_id[test], return_inverse=True)
    low, high = bootstrap(np.bincount(of_window, hits), np.bincount(of_window), RESAMPLES, seed=0)
    return Claim("the official split, by artist", float(hits.mean()), (low, high), len(training), len(test), 0.0, 1)


def by_track(windows: Windows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """As many training and test tracks as the official split has, drawn from all."""
    tracks = np.unique(windows.track_id)
    sizes = [len(np.unique(windows.track_id[windows.split == split])) for split in ("training", "test")]
    drawn = rng.permutation(tracks)
    training, test = drawn[: sizes[0]], drawn[sizes[0] : sum(sizes)]
    return np.flatnonzero(np.isin(windows.track_id, training)), np.flatnonzero(np.isin(windows.track_id, test))


def by_window(windows: Windows, rng: np.random.Generator, training: int, test: int) -> tuple[np.ndarray, np.ndarray]:
    """That many training and test windows, drawn from all."""
    drawn = rng.permutation(len(windows.label))
    return np.sort(drawn[:training]), np.sort(drawn[training : training + test])


def _sizes(windows: Windows) -> tuple[int, int]:
    return int((windows.split == "training").sum()), int((windows.split == "test").sum())


def _shares(windows: Windows) -> tuple[int, int]:
    training = round(SHARE * len(windows.label))
    return training, len(windows.label) - training


def fit_and_score(windows: Windows, training: np.ndarray, test: np.ndarray) -> np.ndarray:
    """bool [test]: which test windows a model that is fitted on the training windows gets right."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000, tol=1e-3))
    model.fit(windows.features[training], windows.label[training])
    return model.predict(windows.features[test]) == windows.label[test]


def read_windows(dataset: str, manifest: Manifest) -> Windows:
    """Reads windows of mel records, or of raw ones where there are none; whole shards of at most MOST_TRACKS or so.

    Raises:
      UsageError: as in `measure`.
    """
    kind = next((kind for kind in ("mel", "raw") if kind in manifest.config.features), None)
    if kind is None:
        raise UsageError(f"--show-leakage needs windows, and {dataset} has no mel and no raw records")
    chosen = [
        shard for split in ("training", "validation", "test") for shard in _some(manifest.shards(kind, split), manifest)
    ]
    missing = {"training", "test"} - {shard.split for shard in chosen}
    if missing:
        raise UsageError(
            f"--show-leakage needs a training and a test split, and {dataset} has no {missing.pop()} records"
        )
    found: dict[str, list] = {name: [] for name in ("features", "label", "track_id", "split")}
    with console.progress("read windows", sum(shard.records for shard in chosen), "records") as progress:
        for shard in chosen:
            for track_id, label, features in _windows(dataset, manifest, shard):
                for name, value in zip(found, (features, label, track_id, shard.split), strict=True):
                    found[name].append(value)
            progress.advance(shard.records)
    return Windows(**{name: np.array(values) for name, values in found.items()}, kind=kind)


def _some(shards: list[ShardFile], manifest: Manifest) -> list[ShardFile]:
    """The first shards, which are a fair sample: a track's shard is a hash of its id."""
    share = min(1.0, MOST_TRACKS / max(1, manifest.totals["tracks"]))
    return shards[: max(1, round(share * len(shards)))]


def _windows(dataset: str, manifest: Manifest, shard: ShardFile) -> Iterator[tuple[int, int, np.ndarray]]:
    """(track id, label, features) of each record."""
    config = manifest.config
    log_mel = LogMel(config.sample_rate, config.n_fft, config.hop_length, config.n_mels)
    path = storage.join(dataset, shard.path)
    with storage.open_read(path) as file:
        for record in map(deserialize, read_records(file, path)):
            payload = decode_payload(shard.kind, record.payload, config)
            if shard.kind == "mel":
                decibels = dequantize(payload, config.db_min, config.db_step)
            else:
                decibels = log_mel(payload.astype(np.float32) / 32768).T
            yield record.track_id, record.label, np.concatenate([decibels.mean(axis=1), decibels.std(axis=1)])


KINDS = {
    "artist": ("artists", "a model may know the artist rather than the genre"),
    "album": ("albums", "a model may know the album rather than the genre"),
    "audio": ("exact copies", "the very same audio is both learned and asked"),
    "recording": ("near duplicates", "nearly the same audio is both learned and asked"),
}
SHOWN, IDS = 20, 3
"""Leaks of a kind that are listed, and track ids named for each split."""


def remark(found: Sequence[Leak]) -> str:
    """One sentence for the summary."""
    if not found:
        return "Leak audit: nothing stands on both sides of a split."
    kinds = Counter(leak.what for leak in found)
    parts = [f"{number:,} {KINDS.get(what, (what, ''))[0]}" for what, number in kinds.items()]
    return f"Leak audit: {listing(parts)} on both sides of a split: the accuracies may be too high."


def leaks(found: Sequence[Leak], leakage: Leakage | None, undetectable_leaks: Sequence[str] = ()) -> Html:
    """The section.

    Args:
      found: by the audit.
      leakage: what the experiment measured, or None where it was not asked for.
      undetectable_leaks: kinds of leaks that this dataset's records do not show.
    """
    told = _kinds(found, undetectable_leaks)
    return section("leaks", "Leak audit", told, _lists(found), _experiment(leakage) if leakage else None)


def _kinds(found: Sequence[Leak], undetectable_leaks: Sequence[str]) -> Html:
    counts = Counter(leak.what for leak in found)
    names = [*KINDS, *(what for what in counts if what not in KINDS)]
    rows: list[list[Content]] = []
    for what in names:
        name, why = KINDS.get(what, (what, ""))
        if what in undetectable_leaks:
            rows.append([name, "?", "not looked for: this takes mel records, and the dataset has none"])
            continue
        state = element("span", "none", class_="right") if not counts[what] else element("span", why, class_="wrong")
        rows.append([name, f"{counts[what]:,}", state])
    return table("In more than one split", ("what", "how many", ""), rows, numbers=(1,))


def _lists(found: Sequence[Leak]) -> list[Html]:
    lists = []
    for what in dict.fromkeys(leak.what for leak in found):
        of_kind = [leak for leak in found if leak.what == what]
        lines = [_line(leak) for leak in of_kind[:SHOWN]]
        if len(of_kind) > SHOWN:
            lines.append(fragment(f"and {len(of_kind) - SHOWN:,} more (fma verify lists all)"))
        lists.append(folded(f"{len(of_kind):,} {KINDS.get(what, (what, ''))[0]}", bullets(lines)))
    return lists


def _line(leak: Leak) -> Html:
    places = []
    for split, ids in leak.where.items():
        more = f" and {len(ids) - IDS:,} more" if len(ids) > IDS else ""
        places.append(f"{split}: {', '.join(map(str, ids[:IDS]))}{more}")
    return fragment(element("strong", leak.name), f" ({'; '.join(places)})")


def _experiment(leakage: Leakage) -> Html:
    official, *others = leakage.claims
    drawn = [_row(claim) for claim in leakage.claims]
    ticks = [element("span", f"{tick}%", style=f"left:{tick}%") for tick in (0, 25, 50, 75, 100)]
    axis = element("div", element("span", class_="name"), element("div", ticks, class_="ticks"), class_="row axis")
    gain = others[-1].accuracy - official.accuracy
    return fragment(
        element("h3", "What another split would have claimed"),
        paragraph(
            f"One and the same model ({leakage.model}), trained and tested on the windows of this dataset in "
            f"{len(leakage.claims)} ways; only the way of dividing them differs."
        ),
        element("figure", element("div", drawn, axis, class_="places", aria_hidden="true")),
        _claims_table(leakage),
        paragraph(
            element("strong", f"Dividing at random by window would have claimed {_by(gain)}"),
            f": {percent(others[-1].accuracy)} instead of {percent(official.accuracy)}, by a model that is no better "
            f"for it. {percent(others[-1].known)} of its test windows come from tracks that it was trained on: it "
            "can recognise the recording, and need not hear the genre. On music that it has never heard, the first "
            "line is what to expect. This is why fma splits by track and artist, and never by window.",
        ),
        paragraph(_how(leakage), class_="note"),
    )


def _by(gain: float) -> str:
    return f"{abs(100 * gain):.1f} points {'more' if gain >= 0 else 'less'}"


def _row(claim: Claim) -> Html:
    low, high = (f"{100 * value:.2f}%" for value in claim.spread)
    grid = [
        element("line", x1=f"{tick}%", x2=f"{tick}%", y1="0", y2="100%", class_="grid") for tick in (0, 25, 50, 75, 100)
    ]
    drawn = element(
        "svg",
        grid,
        element("line", x1=low, x2=high, y1="50%", y2="50%", class_="reach"),
        element("circle", cx=f"{100 * claim.accuracy:.2f}%", cy="50%", r=6, class_="dot"),
        class_="best" if claim.repeats == 1 else "leaky",
    )
    name = element("span", claim.name, class_="name")
    return element("div", name, drawn, element("span", percent(claim.accuracy), class_="value"), class_="row")


def _claims_table(leakage: Leakage) -> Html:
    rows = [
        [
            claim.name,
            percent(claim.accuracy),
            percents(*claim.spread),
            f"{claim.training:,}",
            f"{claim.test:,}",
            percent(claim.known),
        ]
        for claim in leakage.claims
    ]
    columns = ("split", "accuracy by window", "range", "training windows", "test windows", "of known tracks")
    return table("The same model on other splits", columns, rows, numbers=range(1, 6))


def _how(leakage: Leakage) -> str:
    repeats = max(claim.repeats for claim in leakage.claims)
    text = (
        f"Features: mean and standard deviation over time of each of {leakage.bands} mel bands of a window "
        f"(from the {leakage.kind} records). The first line has a 95% interval (bootstrap over tracks); the others "
        f"are means of {repeats} random splits, with the lowest and the highest."
    )
    if leakage.tracks < leakage.of_tracks:
        text += (
            f" Measured on {count(leakage.tracks, 'track')} out of {leakage.of_tracks:,}, those of the first shards."
        )
    return text
