"""HTML and SVG from plain calls: whatever is not `Html` is escaped, so that no title or path can become markup."""

import html
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

VOID = {"meta", "link", "br", "circle", "line", "rect", "path", "polyline"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Content = str | Html | int | None | Iterable["Content"]


def fragment(*children: Content) -> Html:
    """The children one after the other: text escaped, None left out, lists flattened."""
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
    """One element.

    Args:
      name: of the element.
      children: see `fragment`.
      attributes: `class_` is class, `stroke_width` is stroke-width; True is an attribute without a value, None and
        False leave it out; numbers are rounded to two decimals.
    """
    text = "".join(map(_attribute, attributes.keys(), attributes.values()))
    if name in VOID and not children:
        return Html(f"<{name}{text}>" if name in ("meta", "link", "br") else f"<{name}{text}/>")
    return Html(f"<{name}{text}>{fragment(*children)}</{name}>")


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{html.escape(_number(value))}"'


def _number(value: str | float) -> str:
    return f"{round(value, 2):g}" if isinstance(value, float) else str(value)


def table(
    caption: str,
    columns: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    numbers: Collection[int] = (),
    *,
    unseen: bool = False,
) -> Html:
    """A table whose first cell of each row is the row's header; wide ones scroll in a box of their own.

    Args:
      caption: what it shows.
      columns: their headers.
      rows: a cell for each column.
      numbers: indices of the columns to align to the right.
      unseen: whether the caption is for screen readers only, where what stands above says the same.
    """
    aligned = ["number" if i in numbers else None for i in range(len(columns))]
    head = [element("th", cell, scope="col", class_=align) for cell, align in zip(columns, aligned, strict=True)]
    body = [
        element("tr", [_cell(i, cell, align) for i, (cell, align) in enumerate(zip(row, aligned, strict=True))])
        for row in rows
    ]
    drawn = element(
        "table",
        element("caption", caption, class_="unseen" if unseen else None),
        element("thead", element("tr", head)),
        element("tbody", body),
    )
    return scrolling(caption, drawn)


def _cell(index: int, cell: Content, align: str | None) -> Html:
    if index == 0:
        return element("th", cell, scope="row", class_=align)
    return element("td", cell, class_=align)


def scrolling(label: str, content: Html) -> Html:
    """Content that may be wider than a phone, in a box that can be scrolled with the keyboard, too."""
    return element("div", content, class_="scroll", role="region", aria_label=label, tabindex="0")


def paragraph(*children: Content, class_: str | None = None) -> Html:
    """A paragraph."""
    return element("p", *children, class_=class_)


def bullets(items: Iterable[Content]) -> Html:
    """A list of sentences."""
    return element("ul", [element("li", item) for item in items])


def section(anchor: str, title: str, *children: Content) -> Html:
    """A section that can be linked to."""
    return element(
        "section", element("h2", title, id=f"{anchor}-title"), *children, id=anchor, aria_labelledby=f"{anchor}-title"
    )


def folded(summary: Content, *children: Content, open_: bool = False) -> Html:
    """Content that is shown when asked for, and always on paper."""
    return element("details", element("summary", summary), *children, open=open_)


def gallery(drawn: Sequence[Html], shown: int, class_: str) -> Html:
    """One figure for each model; those after the first ones are folded."""
    rest = len(drawn) - shown
    first = element("div", drawn[:shown], class_=class_)
    if rest <= 0:
        return first
    return fragment(first, folded(count(rest, "further model"), element("div", drawn[shown:], class_=class_)))


def percent(share: float) -> str:
    """Such as 86.4%."""
    return f"{100 * share:.1f}%"


def percents(low: float, high: float) -> str:
    """Such as 73.3 to 93.6%."""
    return f"{100 * low:.1f} to {100 * high:.1f}%"


def points(difference: float) -> str:
    """A signed difference of two shares, in points: +2.3 or -20.5, with a real minus sign."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def p_value(p: float) -> str:
    """Three decimals."""
    return "< .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)


def listing(names: Sequence[str], most: int = 6) -> str:
    """Such as `a, b and c`; of more than `most` names the first ones, and how many others there are."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, noun: str) -> str:
    """Such as `1 track` or `1,204 tracks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


LEFT, RIGHT, TOP, BOTTOM = 44.0, 20.0, 12.0, 32.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A plot's area and scales.

    Attributes:
      width, height: of the whole figure, in SVG units; drawn at about one CSS pixel for each one.
      x, y: (low, high) of the data.
    """

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at_x(self, value: float) -> float:
        """Horizontal position of a value."""
        return LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - LEFT - RIGHT)

    def at_y(self, value: float) -> float:
        """Vertical position of a value."""
        return self.height - BOTTOM - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - TOP - BOTTOM)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within a range: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def axes(frame: Frame, x_ticks: Sequence[float], y_ticks: Sequence[float], x_name: str, *, shares: bool) -> Html:
    """Grid lines, numbers and the name of the horizontal axis.

    Args:
      frame: of the plot.
      x_ticks, y_ticks: where.
      x_name: what is shown from left to right.
      shares: whether the numbers on the vertical axis are percentages.
    """
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
    """A line through points."""
    text = " ".join(f"{frame.at_x(x):.1f},{frame.at_y(y):.1f}" for x, y in points)
    return element("polyline", points=text, class_=class_)


def drawing(frame: Frame, label: str, *children: Content) -> Html:
    """The SVG, as wide as the page leaves it.

    Args:
      frame: of the plot.
      label: what a screen reader says.
      children: what is drawn.
    """
    size = f"0 0 {frame.width:g} {frame.height:g}"
    return element("svg", *children, viewBox=size, role="img", aria_label=label, class_="plot")
