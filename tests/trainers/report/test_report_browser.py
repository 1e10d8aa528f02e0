"""The report in a real browser: it shows, complains about nothing, asks for nothing, and fits a phone."""

from pathlib import Path

import pytest

import fma
from tests.browser import CHROMIUM, browser
from tests.trainers.finished_runs import GENRES, write_run
from tests.trainers.synthetic import write_dataset
from transforms.dataset.manifest import load

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

MANY = (*(f"Genre number {i}" for i in range(15)), '<img src="http://example.invalid/x"> & "Old-Time / Historic"')
OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll"))
  .map(e => e.tagName + " " + e.textContent.slice(0, 40))
"""
PLACES = """
[...document.querySelectorAll(".row .dot")].map(dot => {
  const [inner, outer] = [dot, dot.closest("svg")].map(e => e.getBoundingClientRect());
  return 100 * (inner.x + inner.width / 2 - outer.x) / outer.width;
})
"""
UNNAMED = """
[...document.querySelectorAll("svg, table, details, section")].filter(e =>
  e.tagName == "svg" ? !e.closest("[aria-hidden]") && !(e.getAttribute("role") == "img" && e.getAttribute("aria-label"))
  : e.tagName == "TABLE" ? !e.caption || !e.querySelector("th[scope]")
  : e.tagName == "DETAILS" ? !e.querySelector("summary")
  : !document.getElementById(e.getAttribute("aria-labelledby"))).length
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Two runs on a dataset that is there."""
    folder = tmp_path_factory.mktemp("small")
    data = str(folder / "data")
    write_dataset(data, ("mel", "stats"), GENRES, {"training": 12, "validation": 4, "test": 24})
    of = {"dataset": data, "digest": load(data).digest, "track_id": range(17, 41)}
    runs = [write_run(folder / "mel_cnn", **of), write_run(folder / "baselines", ("svm", "gnb"), **of)]
    assert fma.main(["report", *runs, "--out", str(folder / "report.html"), "--show-leakage"]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A dozen runs of 16 genres with long names, one of which would fetch a picture were it markup."""
    folder = tmp_path_factory.mktemp("large")
    of = {"genres": MANY, "track_id": range(1000, 1400)}
    runs = [write_run(folder / f"a_model_with_a_long_name-{i}", skill=i / 2, seed=i, **of) for i in range(8)]
    runs.append(write_run(folder / "baselines", ("logreg", "knn", "gnb", "svm"), **of))
    assert fma.main(["report", *runs, "--out", str(folder / "report.html")]) == 0
    return folder / "report.html"


@pytest.mark.parametrize("which", ["small", "large"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_shows_without_a_request_or_a_complaint_and_fits(page, request, which, width):
    path = request.getfixturevalue(which)
    for dark in (False, True):
        page.open(path, width, dark=dark)
        assert page.requests == [path.resolve().as_uri()]
        assert page.complaints == []
        assert page.evaluate(OVERFLOWING) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_should_be_seen_is_seen(page, small):
    page.open(small)
    assert page.evaluate("document.title") == "3 genre models on 24 test tracks"
    assert page.evaluate("document.querySelector('h1').getBoundingClientRect().height") > 20
    sizes = page.evaluate("[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().height)")
    assert len(sizes) > 12
    assert min(sizes) > 10
    shown = page.evaluate("[...document.querySelectorAll('.row .value')].map(e => parseFloat(e.textContent))")
    assert len(shown) == 3 + 3
    assert page.evaluate(PLACES) == pytest.approx(shown, abs=0.2), "a dot stands where its number says"


def test_dark_and_light_differ_and_both_can_be_read(page, small):
    colours = {}
    for dark in (False, True):
        page.open(small, dark=dark)
        colours[dark] = page.evaluate("['backgroundColor', 'color'].map(k => getComputedStyle(document.body)[k])")
    light, night = (sum(map(int, colours[dark][0][4:-1].split(","))) for dark in (False, True))
    assert light > 700 and night < 120
    assert colours[False][1] != colours[True][1]


CONTRAST = """
(() => {
  const linear = c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const luminance = colour => {
    const srgb = colour.startsWith("color(srgb"), found = colour.match(/[\\d.]+/g).map(Number);
    const [r, g, b] = found.slice(0, 3).map(value => linear(srgb ? value : value / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  return [...document.querySelectorAll(".heat td[style]")].filter(e => e.textContent).map(e => {
    const {color, backgroundColor} = getComputedStyle(e);
    const [less, more] = [luminance(color), luminance(backgroundColor)].sort((a, b) => a - b);
    return (more + .05) / (less + .05);
  });
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_numbers_can_be_read_on_every_shade(page, large, dark):
    page.open(large, dark=dark)
    found = page.evaluate(CONTRAST)
    assert len(found) > 100
    assert min(found) > 4.4
    said = page.evaluate("document.querySelector('.ramp').parentElement.innerText")
    assert ("brighter is more" in said, "darker is more" in said) == (dark, not dark)


def test_confusion_matrices_fit_a_phone_and_wide_tables_show_that_they_scroll(page, small, large):
    boxes = "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility())"
    wide = f"{boxes}.map(e => e.scrollWidth > e.clientWidth + 1)"
    fade = "parseFloat(getComputedStyle(e).getPropertyValue('--fade')) > 0"
    faded = f"{boxes}.map(e => {fade})"
    for path in (small, large):
        page.open(path, 390)
        assert not any(page.evaluate(wide.replace(".scroll'", ".scroll:has(.matrix)'")))
        scrolling = page.evaluate(wide)
        assert any(scrolling)
        assert page.evaluate(faded) == scrolling


@pytest.mark.parametrize("which", ["small", "large"])
def test_figures_tables_and_sections_have_names(page, request, which):
    page.open(request.getfixturevalue(which))
    assert page.evaluate(UNNAMED) == 0
    assert page.evaluate("document.documentElement.lang") == "en"
    broken = "[...document.querySelectorAll('a')].filter(a => !document.querySelector(a.getAttribute('href'))).length"
    assert page.evaluate(broken) == 0


def test_what_users_wrote_is_text_for_the_browser(page, large):
    page.open(large)
    assert page.evaluate("document.images.length + document.scripts.length") == 0, "its dataset is gone: no pictures"
    assert page.evaluate("document.body.textContent.includes('<img src=')")


def test_paper_shows_what_is_folded_on_the_screen(page, large):
    page.open(large)
    visible = "[...document.querySelectorAll('details:not([open]) table')].map(e => e.checkVisibility())"
    assert set(page.evaluate(visible)) == {False}
    page.call("Emulation.setEmulatedMedia", media="print")
    assert set(page.evaluate(visible)) == {True}


def test_the_browser_of_these_tests_sees_requests_and_complaints(page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("oh")</script><p style="width:9999px">')
    page.open(bad)
    assert "http://127.0.0.1:9/x.png" in page.requests
    assert page.complaints
    assert page.evaluate(OVERFLOWING)
