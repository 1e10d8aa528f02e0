"""HTML and SVG from function calls: text that is not `Html` is escaped, so that no title or path becomes markup."""

import html
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

NONE = "–"  # in the place of a score that nothing is known of
VOID = {"meta", "link", "br", "img", "circle", "line", "rect", "path", "polyline"}
STRONG = 0.7  # the share from which on a shade asks for the other colour of text: both can be read there
LEFT, RIGHT, TOP, BOTTOM = 44.0, 20.0, 12.0, 32.0  # margins of a plot, in SVG units


class Html(str):
    """Text that is markup."""

    __slots__ = ()


Content = str | Html | int | None | Iterable["Content"]


def fragment(*children: Content) -> Html:
    """Join the children: text escaped, None left out, lists flattened."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, (str, int)):
            parts.append(html.escape(str(child)))
        else:
            parts.append(fragment(*child))
    return Html("".join(parts))


def element(name: str, /, *children: Content, **attributes: str | float | bool | None) -> Html:
    """Return an element whose children are those of `fragment`.

    Of the attributes, `class_` becomes class and `stroke_width` stroke-width; True is an attribute without a value,
    None and False leave it out; numbers are rounded to two decimals.
    """
    text = "".join(map(_attribute, attributes.keys(), attributes.values()))
    if name in VOID and not children:
        return Html(f"<{name}{text}>" if name in ("meta", "link", "br", "img") else f"<{name}{text}/>")
    return Html(f"<{name}{text}>{fragment(*children)}</{name}>")


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    text = f"{round(value, 2):g}" if isinstance(value, float) else str(value)
    return f" {key}" if value is True else f' {key}="{html.escape(text)}"'


def table(
    caption: str,
    columns: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    numbers: Collection[int] = (),
    *,
    unseen: bool = False,
) -> Html:
    """Return a table whose first column is the rows' headers; wide ones scroll in a box of their own.

    The columns with the indices `numbers` are aligned to the right; an `unseen` caption is for screen readers only.
    """
    aligned = ["number" if i in numbers else None for i in range(len(columns))]
    head = [element("th", cell, scope="col", class_=align) for cell, align in zip(columns, aligned, strict=True)]
    body = []
    for row in rows:
        first, *others = zip(row, aligned, strict=True)
        header = element("th", first[0], scope="row", class_=first[1])
        body.append(element("tr", header, [element("td", cell, class_=align) for cell, align in others]))
    drawn = element(
        "table",
        element("caption", caption, class_="unseen" if unseen else None),
        element("thead", element("tr", head)),
        element("tbody", body),
    )
    return scrolling(caption, drawn)


def scrolling(label: str, content: Html) -> Html:
    """Put content that may be wider than a phone into a box that scrolls, with the keyboard, too."""
    return element("div", content, class_="scroll", role="region", aria_label=label, tabindex="0")


def heat_table(caption: str, class_: str, head: Html, rows: list[Html], label: str | None = None) -> Html:
    """Return a table of `shaded` cells; the label, default the caption, is for screen readers."""
    parts = (element("caption", caption), element("thead", head), element("tbody", rows))
    return scrolling(label or caption, element("table", *parts, class_=class_))


def shaded(text: str, share: float, title: str | None = None) -> Html:
    """Return a table cell whose background stands out more for a larger share, and whose text stays readable on it."""
    strong = "strong" if share >= STRONG else None
    return element("td", text, style=f"--share:{100 * share:.0f}%", title=title, class_=strong)


def shades(meaning: str) -> Html:
    """Return the legend of `shaded` cells: in the dark the brighter one is more, else the darker one."""
    more = [element("span", "darker", class_="in-light"), element("span", "brighter", class_="in-dark")]
    ramp = element("span", class_="ramp", aria_hidden="true")
    return paragraph("0 ", ramp, f" {meaning}; ", more, " is more", class_="legend")


def score_cell(score: float | None) -> Html:
    """Return a `shaded` cell of a score in [0, 1]; a dash where nothing is known of it."""
    return element("td", NONE) if score is None else shaded(f"{score:.2f}", score)


def paragraph(*children: Content, class_: str | None = None) -> Html:
    """Return a paragraph."""
    return element("p", *children, class_=class_)


def legend(keys: Mapping[str, str]) -> Html:
    """Return a legend: a sample of each class of the style sheet and its meaning."""
    parts = [
        element("span", element("span", class_=f"key {tone}"), text, class_="entry") for tone, text in keys.items()
    ]
    return paragraph([(part, " ") for part in parts], class_="legend")


def bullets(items: Iterable[Content]) -> Html:
    """Return a list of sentences."""
    return element("ul", [element("li", item) for item in items])


def definition(name: str, value: Content) -> Html:
    """Return a term and its value, for a `dl`."""
    return element("div", element("dt", name), element("dd", value))


def section(anchor: str, title: str, *children: Content) -> Html:
    """Return a section that can be linked to."""
    return element(
        "section", element("h2", title, id=f"{anchor}-title"), *children, id=anchor, aria_labelledby=f"{anchor}-title"
    )


def folded(summary: Content, *children: Content, open_: bool = False) -> Html:
    """Fold content below a summary; on paper it is always shown."""
    return element("details", element("summary", summary), *children, open=open_)


def gallery(drawn: Sequence[Html], shown: int, class_: str, *, noun: str = "model") -> Html:
    """Return figures, one for each model or other noun; those after the first `shown` are folded."""
    rest = len(drawn) - shown
    first = element("div", drawn[:shown], class_=class_)
    if rest <= 0:
        return first
    return fragment(first, folded(count(rest, f"further {noun}"), element("div", drawn[shown:], class_=class_)))


def percent(share: float) -> str:
    """Format a share, such as 86.4%."""
    return f"{100 * share:.1f}%"


def percents(low: float, high: float) -> str:
    """Format a range of shares, such as 73.3 to 93.6%."""
    return f"{100 * low:.1f} to {100 * high:.1f}%"


def points(difference: float) -> str:
    """Format a difference of two shares in points: +2.3 or -20.5, with a real minus sign."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def p_value(p: float) -> str:
    """Format a p-value with three decimals."""
    return "< .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)


def listing(names: Sequence[str], most: int = 6) -> str:
    """Join names, such as `a, b and c`; of more than `most`, the first ones and how many others there are."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, noun: str) -> str:
    """Format a number of things, such as `1 track` or `1,204 tracks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot's area and scales."""

    width: float  # of the whole figure in SVG units, about one CSS pixel each
    height: float  # likewise
    x: tuple[float, float]  # (low, high) of the data
    y: tuple[float, float]  # likewise

    def at_x(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - LEFT - RIGHT)

    def at_y(self, value: float) -> float:
        """Return the vertical position of a value."""
        return self.height - BOTTOM - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - TOP - BOTTOM)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers within a range: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def axes(frame: Frame, x_ticks: Sequence[float], y_ticks: Sequence[float], x_name: str, *, shares: bool) -> Html:
    """Draw grid lines, numbers and the name of the horizontal axis; `shares`: the vertical axis has percentages."""
    bottom = frame.height - BOTTOM
    parts: list[Content] = []
    for tick in y_ticks:
        y = frame.at_y(tick)
        parts.append(element("line", x1=LEFT, x2=frame.width - RIGHT, y1=y, y2=y, class_="grid"))
        text = f"{100 * tick:.0f}%" if shares else f"{tick:g}"
        parts.append(element("text", text, x=LEFT - 6, y=y + 4, class_="end"))
    for tick in x_ticks:
        x = frame.at_x(tick)
        text = f"{100 * tick:.0f}%" if shares and frame.x == (0.0, 1.0) else f"{tick:g}"
        parts.append(element("text", text, x=x, y=bottom + 15, class_="middle"))
    parts.append(element("text", x_name, x=frame.width - RIGHT, y=frame.height - 2, class_="end"))
    return element("g", parts)


def line(frame: Frame, points: Sequence[tuple[float, float]], class_: str) -> Html:
    """Draw a line through points."""
    text = " ".join(f"{frame.at_x(x):.1f},{frame.at_y(y):.1f}" for x, y in points)
    return element("polyline", points=text, class_=class_)


def drawing(frame: Frame, label: str, *children: Content) -> Html:
    """Return an SVG as wide as the page allows; `label` is for screen readers."""
    size = f"0 0 {frame.width:g} {frame.height:g}"
    return element("svg", *children, viewBox=size, role="img", aria_label=label, class_="plot")


@dataclass(frozen=True, slots=True)
class Interval:
    """A row of `interval_chart`: a share from 0 to 1 with its interval, and a class of the style sheet."""

    name: str
    value: float
    interval: Sequence[float]  # [low, high]
    tone: str


def interval_chart(rows: Sequence[Interval], chance: float | None = None) -> Html:
    """Draw a dot and an interval for each row on one scale from 0 to 100%; `chance` is a dashed line.

    It is hidden from screen readers, since a table with the same numbers is beside it.
    """
    scale = (0, 25, 50, 75, 100)
    ticks = [element("span", f"{tick}%", style=f"left:{tick}%") for tick in scale]
    axis = element("div", element("span", class_="name"), element("div", ticks, class_="ticks"), class_="row axis")

    def upright(x: str, class_: str) -> Html:
        return element("line", x1=x, x2=x, y1="0", y2="100%", class_=class_)

    drawn = []
    for row in rows:
        low, high = (f"{100 * value:.2f}%" for value in row.interval)
        picture = element(
            "svg",
            [upright(f"{tick}%", "grid") for tick in scale],
            None if chance is None else upright(f"{100 * chance:.2f}%", "chance"),
            element("line", x1=low, x2=high, y1="50%", y2="50%", class_="reach"),
            element("circle", cx=f"{100 * row.value:.2f}%", cy="50%", r=6, class_="dot"),
            class_=row.tone,
        )
        name, value = element("span", row.name, class_="name"), element("span", percent(row.value), class_="value")
        drawn.append(element("div", name, picture, value, class_="row"))
    return element("div", drawn, axis, class_="places", aria_hidden="true")
