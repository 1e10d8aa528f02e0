"""The whole page: sections in order, a list of links to them, and everything that it needs inside of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trainers.report import curves, genre_tracks, leaks
from trainers.report.collect import Comparison, ModelOfRun, Run, compare, read_runs
from trainers.report.cost import costs
from trainers.report.dataset import Facts, dataset_card, no_dataset_card, read_facts
from trainers.report.genre_confusion import genre_confusions, genres_together
from trainers.report.genre_leaderboard import genre_calibration, genre_leaderboard
from trainers.report.genre_models import GenreComparison, compare_genres
from trainers.report.genre_tree import extremes, genre_tree
from trainers.report.html import Html, count, definition, element, paragraph, section
from trainers.report.leaderboard import leaderboard
from trainers.report.leaks import Leakage, leak_audit, measure_leakage
from trainers.report.listening import Listening, cut_clips
from trainers.report.mistakes import mistakes, named_rows
from trainers.report.over_time import OverTime, draw_over_time
from trainers.report.precision_recall import curves_by_genre, curves_by_top_genre
from trainers.report.robustness import robustness
from trainers.report.scores import calibration, confusions, genres
from trainers.report.thumbnails import make_thumbnails
from trainers.report.track_map import track_maps
from transforms.audio.clips import Clip
from transforms.dataset.leaks import Leak, audit, undetectable_leaks
from transforms.dataset.ledger import read_tracks
from transforms.dataset.manifest import Manifest, is_dataset, load
from transforms.dataset.track_map import TrackMap, read_map
from transforms.errors import UsageError
from transforms.runtime import console

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
"""The page may load nothing but what is inside of it."""

PartT = TypeVar("PartT", Comparison, GenreComparison)

STYLE = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Background:
    """What the dataset adds to the runs."""

    dataset: str  # its path
    manifest: Manifest  # its dataset.json
    facts: Facts  # of its ledger
    leaks: list[Leak] = field(default_factory=list)  # found by the audit
    leakage: Leakage | None = None  # the experiment's result, or None where it was not run
    maps: list[TrackMap] = field(default_factory=list)  # one for each encoder whose embeddings the dataset has
    pictures: dict[int, bytes] = field(default_factory=dict)  # PNGs of the tracks that the page shows, by id
    over_time: OverTime = field(default_factory=OverTime)  # likewise, of those with one label
    clips: dict[int, Clip] = field(default_factory=dict)  # of these tracks; {} where no players are asked for


@dataclass(frozen=True)
class Compared:
    """All that the page compares; runs with one label for each track and runs with many genres stand apart."""

    one_label: Comparison | None  # None where there is no such run
    many: GenreComparison | None  # likewise

    @property
    def parts(self) -> list[Comparison | GenreComparison]:
        """Return the comparisons that there are."""
        return [part for part in (self.one_label, self.many) if part]

    @property
    def runs(self) -> list[Run]:
        """Return all runs."""
        return [run for part in self.parts for run in part.runs]

    @property
    def models(self) -> list[ModelOfRun]:
        """Return all models."""
        return [model for part in self.parts for model in part.models]


def compare_runs(paths: Sequence[str]) -> Compared:
    """Read runs and compare them; `read_runs`, `compare` and `compare_genres` list the errors.

    Raises:
      UsageError: runs with one label and runs with many genres were trained on different datasets.
    """
    one_label, many = read_runs(paths)
    found = Compared(compare(one_label) if one_label else None, compare_genres(many) if many else None)
    first, *others = found.parts
    for other in others:
        if first.runs[0].digest != other.runs[0].digest and not np.isin(first.track_id, other.track_id).all():
            one, two = first.runs[0], other.runs[0]
            raise UsageError(
                f"{one.path} and {two.path} were trained on different datasets (digests {one.digest[:12]} and "
                f"{two.digest[:12]}): compare runs of one dataset"
            )
    return found


def read_background(
    compared: Compared, dataset: str | None, *, show_leakage: bool, audio: str | None = None
) -> Background | None:
    """Read the dataset (default: that of the first run); None where that is gone.

    `audio` is the folder or zip that has its songs, for players; None for none.

    Raises:
      UsageError: `dataset` is not one, or it is gone and the leakage experiment or the players need it; or `audio` has
        none of the songs.
    """
    path = dataset or compared.runs[0].config.dataset["path"]
    if not dataset and not is_dataset(path):
        if show_leakage or audio:
            option = "--show-leakage" if show_leakage else "--audio"
            raise UsageError(f"{option} needs the dataset, which is not at {path} any more: give --data DATASET")
        console.log(f"no dataset at {path}: no dataset card and no leak audit (give --data DATASET)")
        return None
    manifest = load(path)
    one_label = compared.one_label
    with_cards = _shown_tracks(one_label, named_rows)
    shown = with_cards | _shown_tracks(compared.many, genre_tracks.named_rows)
    maps = [
        read_map(path, manifest, name) for name, facts in manifest.encoders.items() if not manifest.lacks(facts.kind)
    ]
    facts = read_facts(path, manifest, shown.union(*(one.track_id.tolist() for one in maps)))
    of_page = {track_id: facts.tracks[track_id] for track_id in sorted(shown & facts.tracks.keys())}
    return Background(
        path,
        manifest,
        facts,
        audit(path, manifest),
        measure_leakage(path, manifest) if show_leakage else None,
        maps,
        make_thumbnails(path, manifest, of_page),
        draw_over_time(one_label, path, manifest, with_cards) if one_label else OverTime(),
        cut_clips(read_tracks(path, manifest), of_page, audio) if audio else {},
    )


def _shown_tracks(part: PartT | None, rows_of: Callable[[PartT], np.ndarray]) -> set[int]:
    """Return the ids of the tracks that the page shows one by one."""
    return set(part.track_id[rows_of(part)].tolist()) if part else set()


def make_page(compared: Compared, background: Background | None) -> str:
    """Return the report as one HTML document; equal arguments give equal text."""
    runs, models = compared.runs, compared.models
    path = background.dataset if background else runs[0].config.dataset["path"]
    listening = Listening()
    if background:
        listening = Listening(background.facts.tracks, background.pictures, background.clips, background.over_time)
    sections = [one for part in compared.parts for one in _sections_of(part, background, listening)]
    sections += _shared_sections(runs, models, background)
    links = [element("a", name, href=f"#{anchor}") for anchor, name, _ in sections]
    tracks = max(len(part.track_id) for part in compared.parts)
    title = f"{count(len(models), 'genre model')} on {count(tracks, 'test track')}"
    genres = max(len(part.genres) for part in compared.parts)
    summary = f"{count(len(runs), 'run')} · {genres} genres · dataset {path} · digest {runs[0].digest[:12]}"
    body = element(
        "body",
        element("header", element("h1", title), paragraph(summary, class_="path")),
        element("nav", links, aria_label="Sections"),
        element("main", [content for _, _, content in sections]),
        element("footer", paragraph("Written by fma report. The page loads nothing and runs no script.")),
    )
    return f"<!doctype html>\n{element('html', _head(title), body, lang='en')}\n"


Section = tuple[str, str, Html]
"""A section's anchor, its name in the list of links, and its content."""


def _sections_of(
    part: Comparison | GenreComparison, background: Background | None, listening: Listening
) -> list[Section]:
    """Return the sections that are about models."""
    remarks = [curves.remark(part.models), leaks.remark(background.leaks) if background else None]
    said = [remark for remark in remarks if remark]
    dataset = background.dataset if background else None
    if isinstance(part, Comparison):
        foreign = robustness(part.runs)
        return [
            ("leaderboard", "Leaderboard", leaderboard(part, said)),
            ("genres", "Genres", genres(part)),
            ("precision-recall", "Precision and recall", curves_by_genre(part)),
            ("confusion", "Confusion", confusions(part)),
            ("mistakes", "Mistakes", mistakes(part, listening, dataset)),
            ("calibration", "Calibration", calibration(part)),
            *([("robustness", "Foreign sound", foreign)] if foreign else []),
        ]
    link = partial(genre_tracks.link_to, part, listening.tracks)
    return [
        ("many-leaderboard", "Many genres: leaderboard", genre_leaderboard(part, said)),
        ("many-tree", "Tree", genre_tree(part)),
        ("many-precision-recall", "Precision and recall", curves_by_top_genre(part)),
        ("many-extremes", "Rarest and commonest", extremes(part)),
        ("many-confusion", "Instead or in addition", genre_confusions(part, link)),
        ("many-together", "Together", genres_together(part)),
        ("many-tracks", "Tracks", genre_tracks.genre_tracks(part, listening, dataset)),
        ("many-calibration", "Probabilities", genre_calibration(part)),
    ]


def _shared_sections(runs: list[Run], models: list[ModelOfRun], background: Background | None) -> list[Section]:
    """Return the sections that are about runs and their dataset."""
    card = no_dataset_card(runs)
    if background:
        card = dataset_card(background.dataset, background.manifest, background.facts, runs)
    sections = [("curves", "Learning curves", curves.curves(runs)), ("dataset", "Dataset", card)]
    if background and background.maps:
        sections.append(("map", "Map", track_maps(background.maps, background.facts.tracks)))
    if background:
        audited = leak_audit(background.leaks, background.leakage, undetectable_leaks(background.manifest))
        sections.append(("leaks", "Leak audit", audited))
    sections.append(("use", "Size and use", costs(models)))
    return [*sections, ("runs", "Runs", section("runs", "The runs", [_run(run) for run in runs]))]


def _head(title: str) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(STYLE.read_text(encoding="utf-8"))),
    )


def _run(run: Run) -> Html:
    """Describe how a run's models were trained."""
    config = run.config
    facts = {
        "seed": str(config.seed),
        "epoch kept": f"{run.state.best_epoch} of {run.state.epoch} ({run.state.finished or 'not finished'})",
        "options": _pairs(config.options),
        **{f"phase {phase['name']}": _pairs(phase) for phase in run.state.phases or config.phases},
        "made with": _pairs(config.made_with),
        "dataset": f"{config.dataset['path']}, digest {config.dataset['digest'][:12]}",
    }
    if not run.state.history:
        del facts["epoch kept"]
    terms = [definition(name, text) for name, text in facts.items()]
    title = element("h3", f"{config.model} ", element("span", run.path, class_="path"))
    return element("div", title, element("dl", terms, class_="run"))


def _pairs(values: dict[str, Any]) -> str:
    """Format settings, such as `width 1.0, image_size 224`; what is not set is left out."""
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in (None, "") and key != "name")
