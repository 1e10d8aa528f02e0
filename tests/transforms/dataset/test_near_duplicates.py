"""Fingerprints, how they are compared, and the index that finds which ones to compare."""

from pathlib import Path

import numpy as np
import pytest

from transforms.dataset import near_duplicates
from transforms.dataset.near_duplicates import (
    COMMON,
    EMPTY,
    SAME,
    Fingerprints,
    bit_error_rate,
    distance,
    find_candidates,
    fingerprint,
)


def test_mel_bands_that_are_too_few_for_a_fingerprint_are_said_to_be_so():
    with pytest.raises(ValueError, match="25 mel bands are too few"):
        fingerprint(np.zeros((25, 100), np.uint8))


def test_the_fingerprint_of_the_same_sound_made_softer_is_nearly_the_same():
    mel = np.random.default_rng(0).integers(60, 200, (224, 300), np.uint8)
    assert len(fingerprint(mel)) == 300 - 15
    assert bit_error_rate(fingerprint(mel), fingerprint(mel - 50), 40) == 0


def test_a_bit_says_that_the_difference_of_two_bands_has_grown():
    mel = np.full((26, 16), 100, np.uint8)
    mel[1, 8:] = 101  # band 1 grows: against band 0 (bit 0) it gains, and band 2 against it (bit 1) loses
    assert fingerprint(mel).tolist() == [0b01]
    assert fingerprint(mel[:, :15]).tolist() == []


def test_other_sounds_differ_in_nearly_half_of_the_bits_and_silence_is_like_nothing():
    random = np.random.default_rng(0)
    one, other = (fingerprint(random.integers(0, 200, (224, 300), np.uint8)) for _ in range(2))
    assert bit_error_rate(one, other, 40) > 0.4
    silence = fingerprint(np.zeros((224, 300), np.uint8))
    assert bit_error_rate(silence, silence, 40) == 1
    assert bit_error_rate(one, one[:39], 40) == 1


def _count_bits(one: np.ndarray, other: np.ndarray, least: int) -> float:
    """`bit_error_rate`, shift by shift."""
    best = 1.0
    for shift in range(1 - len(one), len(other)):
        first, second = one[max(0, -shift) :], other[max(0, shift) :]
        first, second = first[: len(second)], second[: len(first)]
        heard = ~(np.isin(first, EMPTY) & np.isin(second, EMPTY))
        if heard.sum() >= least:
            best = min(best, int(np.bitwise_count(first ^ second)[heard].sum()) / (16 * int(heard.sum())))
    return best


@pytest.mark.parametrize("case", range(6))
def test_bits_are_counted_at_every_shift_and_exactly(case):
    random = np.random.default_rng(case)
    one, other = (random.integers(0, 1 << 16, size, np.uint16) for size in random.integers(30, 120, 2))
    if case % 2:
        other = one[5:] ^ (random.random(len(one) - 5) < 0.3).astype(np.uint16)
    one[random.random(len(one)) < 0.2 * case] = EMPTY[case % 2]
    other[random.random(len(other)) < 0.2 * case] = EMPTY[0]
    assert bit_error_rate(one, other, 20) == _count_bits(one, other, 20)


def write(folder: Path, tracks: list[np.ndarray]) -> Fingerprints:
    (folder / "words").write_bytes(b"".join(words.astype("<u2").tobytes() for words in tracks))
    starts = np.cumsum([0, *map(len, tracks)])
    return Fingerprints(str(folder / "words"), np.arange(len(tracks)), starts)


def candidates(folder: Path, tracks: list[np.ndarray], asked: list[int]) -> set[tuple[int, int]]:
    folder.mkdir()
    return set(find_candidates(write(folder, tracks), np.array(asked, int), str(folder)))


@pytest.fixture
def songs() -> list[np.ndarray]:
    """Ten songs; 8 is a piece of 3 with a tenth of its words changed, and 9 all of 5."""
    random = np.random.default_rng(0)
    songs = [random.integers(1, (1 << 16) - 1, 1200, np.uint16) for _ in range(8)]
    piece = songs[3][401:].copy()
    piece[random.random(len(piece)) < 0.1] ^= 3
    return [*songs, piece, songs[5]]


def test_a_copy_is_found_wherever_it_was_cut_and_nothing_else(tmp_path, songs):
    assert candidates(tmp_path / "a", songs, [4, 8, 9]) == {(8, 3), (9, 5)}
    assert distance(songs[8], songs[3]) <= SAME < distance(songs[8], songs[4])


def test_the_pairs_are_the_same_however_many_tracks_are_looked_up_at_once(tmp_path, songs, monkeypatch):
    monkeypatch.setattr(near_duplicates, "BATCH_WORDS", 2000)
    assert candidates(tmp_path / "a", songs, [*range(10)]) == {(8, 3), (3, 8), (9, 5), (5, 9)}
    assert candidates(tmp_path / "b", songs, []) == set()


def test_equal_keys_count_where_they_are_equally_far_from_each_other(tmp_path):
    random = np.random.default_rng(1)
    one, other, shuffled = (random.integers(1, (1 << 16) - 1, 400, np.uint16) for _ in range(3))
    for at, moved in ((40, 80), (200, 280)):  # two keys of one, of words 16 frames apart
        for word in (at, at + 16):
            other[word + 60] = one[word]
            shuffled[word - at + moved] = one[word]
    assert candidates(tmp_path / "a", [one, other, shuffled], [1, 2]) == {(1, 0)}
    other[260] ^= 1
    assert candidates(tmp_path / "b", [one, other, shuffled], [1, 2]) == set()


def test_among_very_many_words_a_third_one_has_to_be_alike(tmp_path, songs, monkeypatch):
    random = np.random.default_rng(1)
    one, other = (random.integers(1, (1 << 16) - 1, 400, np.uint16) for _ in range(2))
    for word in (40, 56, 200, 216):
        other[word + 60] = one[word]
    assert candidates(tmp_path / "a", [one, other], [1]) == {(1, 0)}
    monkeypatch.setattr(near_duplicates, "LARGE", 20)
    assert candidates(tmp_path / "b", [one, other], [1]) == set()
    assert candidates(tmp_path / "c", songs, [4, 8, 9]) == {(8, 3), (9, 5)}


def test_a_key_that_is_everywhere_says_nothing(tmp_path):
    random = np.random.default_rng(2)
    tracks = random.integers(1, (1 << 16) - 1, (COMMON + 1, 100), np.uint16)
    tracks[:, [0, 16, 40, 56]] = 1, 2, 3, 4
    assert len(candidates(tmp_path / "a", [*tracks[1:]], [0])) == COMMON - 1
    assert candidates(tmp_path / "b", [*tracks], [0]) == set()
