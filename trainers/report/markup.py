"""HTML and SVG from plain calls: whatever is not `Html` is escaped, so that no title or path can become markup."""

import html
from collections.abc import Collection, Iterable, Sequence

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
