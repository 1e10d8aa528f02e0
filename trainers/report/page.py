"""The whole page: sections in order, a list of links to them, and everything that it needs inside of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainers.report import curves, leaks
from trainers.report.collect import Comparison, Run
from trainers.report.dataset import Facts, dataset_card, no_dataset_card, read_facts
from trainers.report.html import Html, count, definition, element, paragraph, section
from trainers.report.leaderboard import leaderboard
from trainers.report.leaks import Leakage, leak_audit, measure_leakage
from trainers.report.mistakes import mistakes, named_rows
from trainers.report.scores import calibration, confusions, genres
from transforms.dataset.leaks import Leak, audit, undetectable_leaks
from transforms.dataset.manifest import Manifest, is_dataset, load
from transforms.errors import UsageError
from transforms.runtime import console

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The page may load nothing but its own style sheet."""

STYLE = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Background:
    """What the dataset adds to the runs."""

    dataset: str  # its path
    manifest: Manifest  # its dataset.json
    facts: Facts  # of its ledger
    leaks: list[Leak] = field(default_factory=list)  # found by the audit
    leakage: Leakage | None = None  # the experiment's result, or None where it was not run


def read_background(comparison: Comparison, dataset: str | None, *, show_leakage: bool) -> Background | None:
    """Read the dataset (default: that of the first run); None where that is gone.

    Raises:
      UsageError: `dataset` is not one, or it is gone and the leakage experiment needs it.
    """
    path = dataset or comparison.runs[0].config.dataset["path"]
    if not dataset and not is_dataset(path):
        if show_leakage:
            raise UsageError(f"--show-leakage needs the dataset, which is not at {path} any more: give --data DATASET")
        console.log(f"no dataset at {path}: no dataset card and no leak audit (give --data DATASET)")
        return None
    manifest = load(path)
    facts = read_facts(path, manifest, set(comparison.track_id[named_rows(comparison)].tolist()))
    leakage = measure_leakage(path, manifest) if show_leakage else None
    return Background(path, manifest, facts, audit(path, manifest), leakage)


def make_page(comparison: Comparison, background: Background | None) -> str:
    """Return the report as one HTML document; equal arguments give equal text."""
    if background:
        path = background.dataset
        named = mistakes(comparison, background.facts.tracks, path)
        card = dataset_card(path, background.manifest, background.facts, comparison)
    else:
        path = comparison.runs[0].config.dataset["path"]
        named, card = mistakes(comparison, {}, None), no_dataset_card(comparison)
    remarks = [curves.remark(comparison), leaks.remark(background.leaks) if background else None]
    sections = [
        ("leaderboard", "Leaderboard", leaderboard(comparison, [remark for remark in remarks if remark])),
        ("genres", "Genres", genres(comparison)),
        ("confusion", "Confusion", confusions(comparison)),
        ("mistakes", "Mistakes", named),
        ("calibration", "Calibration", calibration(comparison)),
        ("curves", "Learning curves", curves.curves(comparison)),
        ("dataset", "Dataset", card),
    ]
    if background:
        audited = leak_audit(background.leaks, background.leakage, undetectable_leaks(background.manifest))
        sections.append(("leaks", "Leak audit", audited))
    sections.append(("runs", "Runs", section("runs", "The runs", [_run(run) for run in comparison.runs])))
    links = [element("a", name, href=f"#{anchor}") for anchor, name, _ in sections]
    models, tracks = len(comparison.models), len(comparison.track_id)
    title = f"{count(models, 'genre model')} on {count(tracks, 'test track')}"
    runs, digest = count(len(comparison.runs), "run"), comparison.runs[0].digest[:12]
    summary = f"{runs} · {len(comparison.genres)} genres · dataset {path} · digest {digest}"
    body = element(
        "body",
        element("header", element("h1", title), paragraph(summary, class_="path")),
        element("nav", links, aria_label="Sections"),
        element("main", [content for _, _, content in sections]),
        element("footer", paragraph("Written by fma report. The page loads nothing and runs no script.")),
    )
    return f"<!doctype html>\n{element('html', _head(title), body, lang='en')}\n"


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
