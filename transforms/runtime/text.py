"""Text from elsewhere (names of genres, artists, files) that a terminal can show; names that were misspelt."""

import difflib
import unicodedata
from collections.abc import Iterable

JOINERS = "\u200c\u200d"  # of Persian, Hindi and emoji: they shape their neighbours, and move nothing
CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's categories: control, format (such as bidi), surrogate, line ends


def printable(text: str, encoding: str | None = "utf-8") -> str:
    r"""Return a text on one line, in which no character controls a terminal or the order of others.

    Args:
      text: such as a file's name; bytes that are not UTF-8 are in it as `os.fsdecode` puts them.
      encoding: of the stream that it is written to.

    Returns:
      the text with an escape (\n, \x1b, \xe9) for each character that controls a terminal or has no shape.
    """
    shown = text if text.isprintable() else "".join(map(_show, text))
    encoding = encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def is_control(character: str) -> bool:
    """Return whether a character controls a terminal, a line or the order of others instead of having a shape."""
    return unicodedata.category(character) in CONTROLS and character not in JOINERS


def _show(character: str) -> str:
    if character.isprintable() or character in JOINERS:
        return character
    if unicodedata.category(character) == "Zs":  # a space of another width
        return " "
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def did_you_mean(given: str, known: Iterable[str], alike: float = 0.6) -> str:
    """Return ` (did you mean X?)` with the known name most like the given one, "" where none is alike, 0 to 1."""
    near = difflib.get_close_matches(given, known, 1, alike)
    return f" (did you mean {near[0]}?)" if near else ""
