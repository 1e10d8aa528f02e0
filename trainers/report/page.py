"""The whole page: sections in order, a list of links to them, and everything that it needs inside of it."""

from dataclasses import dataclass, field
from typing import Any

from trainers.report import curves, leaks
from trainers.report.calibration import calibration
from trainers.report.collect import Comparison, Run
from trainers.report.dataset import Facts, card, no_card
from trainers.report.genres import confusions, genres
from trainers.report.html import Html, count, element, paragraph, section
from trainers.report.leaderboard import leaderboard, standings
from trainers.report.leaks import Leakage
from trainers.report.mistakes import mistakes
from trainers.report.style import STYLE
from transforms.dataset.leaks import Leak, undetectable_leaks
from transforms.dataset.manifest import Manifest

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Of what the page may load: nothing but its own style sheet."""


@dataclass(frozen=True)
class Background:
    """What the dataset adds to the runs.

    Attributes:
      dataset: its path.
      manifest: its dataset.json.
      facts: of its ledger.
      leaks: what the audit found.
      leakage: what the experiment measured, or None where it was not asked for.
    """

    dataset: str
    manifest: Manifest
    facts: Facts
    leaks: list[Leak] = field(default_factory=list)
    leakage: Leakage | None = None


def page(comparison: Comparison, background: Background | None) -> str:
    """The report as one HTML document; equal arguments give equal text."""
    remarks = [
        remark for remark in (curves.remark(comparison), background and leaks.remark(background.leaks)) if remark
    ]
    facts = background.facts.tracks if background else {}
    sections = [
        ("leaderboard", "Leaderboard", leaderboard(comparison, standings(comparison), remarks)),
        ("genres", "Genres", genres(comparison)),
        ("confusion", "Confusion", confusions(comparison)),
        ("mistakes", "Mistakes", mistakes(comparison, facts, background.dataset if background else None)),
        ("calibration", "Calibration", calibration(comparison)),
        ("curves", "Learning curves", curves.curves(comparison)),
        ("dataset", "Dataset", _dataset(comparison, background)),
        *([("leaks", "Leak audit", _leaks(background))] if background else []),
        ("runs", "Runs", runs(comparison)),
    ]
    links = [element("a", name, href=f"#{anchor}") for anchor, name, _ in sections]
    body = element(
        "body",
        header(comparison, background),
        element("nav", links, aria_label="Sections"),
        element("main", [content for _, _, content in sections]),
        element("footer", paragraph("Written by fma report. The page loads nothing and runs no script.")),
    )
    return f"<!doctype html>\n{element('html', _head(comparison), body, lang='en')}\n"


def _leaks(background: Background) -> Html:
    return leaks.leaks(background.leaks, background.leakage, undetectable_leaks(background.manifest))


def _dataset(comparison: Comparison, background: Background | None) -> Html:
    if background is None:
        return no_card(comparison)
    return card(background.dataset, background.manifest, background.facts, comparison)


def title(comparison: Comparison) -> str:
    """Such as `7 genre models on 44 test tracks`."""
    return f"{count(len(comparison.models), 'genre model')} on {count(len(comparison.track_id), 'test track')}"


def header(comparison: Comparison, background: Background | None) -> Html:
    """Title and one line about what is compared."""
    parts = [count(len(comparison.runs), "run"), f"{len(comparison.genres)} genres"]
    where = background.dataset if background else comparison.runs[0].config.dataset["path"]
    parts += [f"dataset {where}", f"digest {comparison.runs[0].digest[:12]}"]
    return element("header", element("h1", title(comparison)), paragraph(" · ".join(parts), class_="path"))


def _head(comparison: Comparison) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title(comparison)),
        element("style", Html(STYLE)),
    )


def runs(comparison: Comparison) -> Html:
    """The section on how the models came about."""
    return section("runs", "The runs", [_run(run) for run in comparison.runs])


def _run(run: Run) -> Html:
    config = run.config
    facts = {
        "seed": str(config.seed),
        "epoch kept": f"{run.state.best_epoch} of {run.state.epoch} ({run.state.finished or 'not finished'})",
        "options": _pairs(config.options),
        **{f"phase {phase['name']}": _pairs(phase) for phase in config.phases},
        "made with": _pairs(config.made_with),
        "dataset": f"{config.dataset['path']}, digest {config.dataset['digest'][:12]}",
    }
    if not run.history:
        del facts["epoch kept"]
    terms = [element("div", element("dt", name), element("dd", text)) for name, text in facts.items()]
    title = element("h3", f"{config.model} ", element("span", run.path, class_="path"))
    return element("div", title, element("dl", terms, class_="run"))


def _pairs(values: dict[str, Any]) -> str:
    """Such as `width 1.0, image_size 224`; what is not set is left out."""
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in (None, "") and key != "name")
