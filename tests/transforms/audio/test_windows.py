import numpy as np
import pytest

from transforms.audio.windows import WindowCutter


def windows_of(signal: np.ndarray, window: int, hop: int, context: int, blocks: list[int]) -> list[np.ndarray]:
    """Every window with its context, cut from the signal given in blocks of those lengths."""
    cutter = WindowCutter(window, hop, context)
    segments = []
    position = 0
    for length in blocks:
        segments += list(cutter.push(signal[position : position + length]))
        position += length
    segments += list(cutter.push(signal[position:])) + list(cutter.finish())
    found = []
    for segment in segments:
        assert segment.first == len(found)
        for i in range(segment.count):
            found.append(segment.samples[i * hop : i * hop + window + 2 * context])
    return found


def windows_of_whole(signal: np.ndarray, window: int, hop: int, context: int) -> list[np.ndarray]:
    padded = np.pad(signal, context)
    starts = range(0, len(signal) - window + 1, hop)
    return [padded[start : start + window + 2 * context] for start in starts]


@pytest.mark.parametrize("hop", [10, 4, 25])
@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("length", [0, 9, 10, 11, 57, 100])
@pytest.mark.parametrize("blocks", [[], [1, 2, 3], [50], [7] * 12])
def test_windows_do_not_depend_on_how_the_stream_is_cut(hop, context, length, blocks):
    signal = np.arange(1, length + 1, dtype=np.float32)
    found = windows_of(signal, 10, hop, context, blocks)
    expected = windows_of_whole(signal, 10, hop, context)
    assert len(found) == len(expected)
    for have, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(have, want)


def test_the_buffer_does_not_grow_with_the_track():
    cutter = WindowCutter(100, 100, 10)
    for _ in range(50):
        list(cutter.push(np.zeros(1000, np.float32)))
        assert cutter._length < 100 + 2 * 10
