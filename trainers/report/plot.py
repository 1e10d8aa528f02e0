"""The few pieces that a line chart consists of, as SVG that takes its colours from the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainers.report.markup import Content, Html, element

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
