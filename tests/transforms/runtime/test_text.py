import pytest

from transforms.runtime.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Björk 日本語", "Björk 日本語"),
        ("a\tb\nc\r\x00\x1b[0m\x7f\x9b", r"a\tb\nc\r\x00\x1b[0m\x7f\x9b"),
        ("a\u202eb\u2066c\u200fd\u2028e", r"a\u202eb\u2066c\u200fd\u2028e"),
        ("a\u3000b\xa0c", "a b c"),
        ("می\u200cخواهم 👩\u200d🎤", "می\u200cخواهم 👩\u200d🎤"),
        ("latin\udce9", r"latin\xe9"),
    ],
)
def test_text_that_controls_a_terminal_is_escaped_and_other_text_stays(text, shown):
    assert printable(text) == shown


def test_what_a_stream_cannot_say_is_escaped():
    assert printable("日本 é", "ascii") == r"\u65e5\u672c \xe9"
