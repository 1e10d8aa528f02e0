"""The leak audit, and the leakage experiment: what a random split by window would have claimed."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainers.evaluation.metrics import RESAMPLES, bootstrap
from trainers.report.html import (
    Content,
    Html,
    Interval,
    bullets,
    count,
    element,
    folded,
    fragment,
    interval_chart,
    listing,
    paragraph,
    percent,
    percents,
    section,
    table,
)
from transforms.audio.mel import LogMel, dequantize
from transforms.dataset.generation import ShardFile
from transforms.dataset.leaks import Leak
from transforms.dataset.manifest import Manifest
from transforms.dataset.shard_io import read_shard
from transforms.errors import UsageError
from transforms.records import decode_payload
from transforms.runtime import console
from transforms.tracks import SPLITS

MODEL = "logistic regression on standardised features, C = 1"
MOST_TRACKS = 1000  # more tracks make the experiment slower, and hardly more certain
REPEATS = 5

KINDS = {
    "artist": ("artist", "artists", "a model may recognise the artist rather than the genre"),
    "album": ("album", "albums", "a model may recognise the album rather than the genre"),
    "audio": ("exact copy", "exact copies", "the very same audio is in training and test"),
    "recording": ("near duplicate", "near duplicates", "nearly the same audio is in training and test"),
}
SHOWN, IDS = 20, 3  # leaks of a kind that are listed, and track ids named for each split


@dataclass(frozen=True)
class Windows:
    """Features of windows."""

    features: np.ndarray  # float32 [n, 2 * bands], mean and standard deviation over time, in dB
    label: np.ndarray  # int64 [n]
    track_id: np.ndarray  # int64 [n]
    split: np.ndarray  # str [n]
    kind: str  # of the records that they were computed from


@dataclass(frozen=True, slots=True)
class Claim:
    """The accuracy that a way of splitting the windows claims."""

    name: str  # of the way
    accuracy: float  # by window, the mean over the repeats
    spread: tuple[float, float]  # (low, high), a 95% interval for one split, else the range of the repeats
    training: int  # windows
    test: int  # windows
    known: float  # share of the test windows whose track has windows in training
    repeats: int  # number of random splits


@dataclass(frozen=True, slots=True)
class Leakage:
    """The experiment's result."""

    claims: list[Claim]  # the dataset's split first, the random split by window last
    kind: str  # of the records that were read
    bands: int  # mel bands
    tracks: int  # that the windows are from
    of_tracks: int  # in the dataset


Split = Callable[[Windows, np.random.Generator, int, int], tuple[np.ndarray, np.ndarray]]
"""Windows, a generator, and how many to train and to test on -> their row numbers, ascending."""


def measure_leakage(dataset: str, manifest: Manifest, seed: int = 0) -> Leakage:
    """Run the experiment; equal datasets and seeds give equal results.

    Raises:
      UsageError: the dataset has no windows, or no training or test split.
      FmaError: a shard is damaged.
    """
    windows = read_windows(dataset, manifest)
    tracks = len(np.unique(windows.track_id))
    return Leakage(claims_of(windows, seed), windows.kind, manifest.config.n_mels, tracks, manifest.totals["tracks"])


def claims_of(windows: Windows, seed: int = 0) -> list[Claim]:
    """Return what each way of splitting the windows claims, all of as many to train on; the dataset's own first."""
    training, test = (int((windows.split == split).sum()) for split in ("training", "test"))
    ways: dict[str, Split] = {"by track at random": split_by_track, "by window at random": split_by_window}
    claims = [_official_claim(windows)]
    with console.progress("leakage", len(ways) * REPEATS, "fits") as progress:
        for name, split in ways.items():
            accuracies = []
            for repeat in range(REPEATS):
                fitted, tested = split(windows, np.random.default_rng((seed, repeat)), training, test)
                accuracies.append(float(_fit_and_score(windows, fitted, tested).mean()))
                progress.advance()
            known = float(np.isin(windows.track_id[tested], windows.track_id[fitted]).mean())
            mean, spread = float(np.mean(accuracies)), (min(accuracies), max(accuracies))
            claims.append(Claim(name, mean, spread, len(fitted), len(tested), known, REPEATS))
    return claims


def _official_claim(windows: Windows) -> Claim:
    training, test = (np.flatnonzero(windows.split == split) for split in ("training", "test"))
    hits = _fit_and_score(windows, training, test).astype(np.float64)
    _, of_window = np.unique(windows.track_id[test], return_inverse=True)
    low, high = bootstrap(np.bincount(of_window, hits), np.bincount(of_window), RESAMPLES, seed=0)
    return Claim("the official split, by artist", float(hits.mean()), (low, high), len(training), len(test), 0.0, 1)


def split_by_track(
    windows: Windows, rng: np.random.Generator, training: int, test: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw training windows, and test windows of other tracks, from all: track after track, the last ones in part."""
    ids, of_window = np.unique(windows.track_id, return_inverse=True)
    drawn = np.argsort(rng.permutation(len(ids))[of_window], kind="stable")
    fitted, rest = drawn[:training], drawn[training:]
    tested = rest[~np.isin(of_window[rest], of_window[fitted])][:test]
    return np.sort(fitted), np.sort(tested)


def split_by_window(
    windows: Windows, rng: np.random.Generator, training: int, test: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw that many training and test windows, from all."""
    drawn = rng.permutation(len(windows.label))
    return np.sort(drawn[:training]), np.sort(drawn[training : training + test])


def _fit_and_score(windows: Windows, training: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return which test windows a model fitted on the training windows gets right, bool [test]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000, tol=1e-3))
    model.fit(windows.features[training], windows.label[training])
    return model.predict(windows.features[test]) == windows.label[test]


def read_windows(dataset: str, manifest: Manifest) -> Windows:
    """Read windows of mel records, or of raw ones where there are none; whole shards of about MOST_TRACKS at most.

    Raises:
      UsageError: as `measure_leakage`.
    """
    kind = next((kind for kind in ("mel", "raw") if kind in manifest.config.features), None)
    if kind is None:
        raise UsageError(f"--show-leakage needs windows, and {dataset} has no mel and no raw records")
    share = min(1.0, MOST_TRACKS / max(1, manifest.totals["tracks"]))
    chosen: list[ShardFile] = []
    for split in SPLITS:
        shards = manifest.shards(kind, split, "top")
        # The first shards are a fair sample: a track's shard is a hash of its id.
        chosen += shards[: max(1, round(share * len(shards)))]
    missing = {"training", "test"} - {shard.split for shard in chosen}
    if missing:
        raise UsageError(
            f"--show-leakage needs a training and a test split, and {dataset} has no {missing.pop()} records"
        )
    rows = []
    with console.progress("read windows", sum(shard.records for shard in chosen), "records") as progress:
        for shard in chosen:
            rows += [(*row, shard.split) for row in _read_windows(dataset, manifest, shard)]
            progress.advance(shard.records)
    track_id, label, features, of_split = (np.array(column) for column in zip(*rows, strict=True))
    return Windows(features, label, track_id, of_split, kind)


def _read_windows(dataset: str, manifest: Manifest, shard: ShardFile) -> Iterator[tuple[int, int, np.ndarray]]:
    """Read (track id, label, features) of each record."""
    config = manifest.config
    log_mel = LogMel(config.sample_rate, config.n_fft, config.hop_length, config.n_mels)
    for record, _ in read_shard(dataset, shard, manifest.schema):
        payload = decode_payload(shard.kind, record.payload, config)
        if shard.kind == "mel":
            decibels = dequantize(payload, config.db_min, config.db_step)
        else:
            decibels = log_mel(payload.astype(np.float32) / 32768).T
        yield record.track_id, record.label, np.concatenate([decibels.mean(axis=1), decibels.std(axis=1)])


def remark(found: Sequence[Leak]) -> str:
    """Return a sentence for the summary."""
    if not found:
        return "Leak audit: nothing is on both sides of a split."
    kinds = Counter(leak.what for leak in found)
    parts = [_counted(what, number) for what, number in kinds.items()]
    return f"Leak audit: {listing(parts)} on both sides of a split: the accuracies may be too high."


def leak_audit(found: Sequence[Leak], leakage: Leakage | None, undetectable: Sequence[str] = ()) -> Html:
    """Return the section; `undetectable` are the kinds of leaks that the dataset's records do not show."""
    counts = Counter(leak.what for leak in found)
    rows: list[list[Content]] = []
    for what, (_, name, why) in KINDS.items():
        if what in undetectable:
            rows.append([name, "?", "not searched: this needs mel records, which the dataset lacks"])
        elif counts[what]:
            rows.append([name, f"{counts[what]:,}", element("span", why, class_="wrong")])
        else:
            rows.append([name, "0", element("span", "none", class_="right")])
    kinds = table("In more than one split", ("what", "how many", ""), rows, numbers=(1,))
    lists = [_leak_list(what, [leak for leak in found if leak.what == what]) for what in counts]
    return section("leaks", "Leak audit", kinds, lists, _experiment(leakage) if leakage else None)


def _leak_list(what: str, leaks: Sequence[Leak]) -> Html:
    items = []
    for leak in leaks[:SHOWN]:
        places = []
        for split, ids in leak.where.items():
            more = f" and {len(ids) - IDS:,} more" if len(ids) > IDS else ""
            places.append(f"{split}: {', '.join(map(str, ids[:IDS]))}{more}")
        items.append(fragment(element("strong", leak.name), f" ({'; '.join(places)})"))
    if len(leaks) > SHOWN:
        items.append(fragment(f"and {len(leaks) - SHOWN:,} more (fma verify lists all)"))
    return folded(_counted(what, len(leaks)), bullets(items))


def _counted(what: str, number: int) -> str:
    one, many, _ = KINDS[what]
    return f"{number:,} {one if number == 1 else many}"


def _experiment(leakage: Leakage) -> Html:
    official, last = leakage.claims[0], leakage.claims[-1]
    rows = [
        Interval(claim.name, claim.accuracy, claim.spread, "best" if claim.repeats == 1 else "leaky")
        for claim in leakage.claims
    ]
    gain = last.accuracy - official.accuracy
    points = f"{abs(100 * gain):.1f} points {'more' if gain >= 0 else 'less'}"
    return fragment(
        element("h3", "What another split would have claimed"),
        paragraph(
            f"One and the same model ({MODEL}), trained and tested on the windows of this dataset in "
            f"{len(leakage.claims)} ways, on as many each time; only the split differs."
        ),
        element("figure", interval_chart(rows)),
        _claims_table(leakage),
        paragraph(
            element("strong", f"Dividing at random by window would have claimed {points}"),
            f": {percent(last.accuracy)} instead of {percent(official.accuracy)}, by a model that is no better for "
            f"it. {percent(last.known)} of its test windows come from tracks that it was trained on: it can recognise "
            "the recording without hearing the genre. On new music, expect the accuracy of the first line. This is "
            "why fma splits by track and artist, and never by window.",
        ),
        paragraph(_describe_experiment(leakage), class_="note"),
    )


def _claims_table(leakage: Leakage) -> Html:
    rows = [
        (c.name, percent(c.accuracy), percents(*c.spread), f"{c.training:,}", f"{c.test:,}", percent(c.known))
        for c in leakage.claims
    ]
    columns = ("split", "accuracy by window", "range", "training windows", "test windows", "of known tracks")
    return table("The same model on other splits", columns, rows, numbers=range(1, 6))


def _describe_experiment(leakage: Leakage) -> str:
    text = (
        f"Features: mean and standard deviation over time of each of {leakage.bands} mel bands of a window "
        f"(from the {leakage.kind} records). The first line has a 95% interval (bootstrap over tracks); the others "
        f"are means of {REPEATS} random splits, with the lowest and the highest."
    )
    if leakage.tracks < leakage.of_tracks:
        tracks = count(leakage.tracks, "track")
        text += f" Measured on {tracks} out of {leakage.of_tracks:,}, those of the first shards."
    return text
