"""File names as people see them: a name may hold any bytes but two."""


def printable(text: str, encoding: str | None = "utf-8") -> str:
    r"""A text on one line that any terminal, table and picture can show.

    Args:
      text: such as a file's name; bytes that are no UTF-8 are in it as `os.fsdecode` puts them.
      encoding: of the stream that it goes to.

    Returns:
      the text with an escape (\n, \x1b, \xe9) for each character that steers a terminal or has no shape.
    """
    shown = "".join(character if character.isprintable() else _escaped(character) for character in text)
    encoding = encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _escaped(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return " " if character.isspace() and character > "\u00ff" else character.encode("unicode_escape").decode()
