"""Ways to damage audio files. Each takes a random generator and sound files, and gives the bytes of a damaged one."""

import random
from collections.abc import Callable
from functools import cache

from tests.conftest import encoded, tone
from tests.faults.mp3 import after_id3, frames_of
from tests.transforms.audio.odd_files import by_ffmpeg
from transforms.corpus.sound import synthesise
from transforms.corpus.writer import render_mp3

SECONDS = 1.0
XING = (b"Xing", b"Info")
OTHER_FORMATS = (("WAV", None), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", None), ("AIFF", None), ("AU", None))
MAGIC = (
    b"RIFF\x00\x00\x01\x00WAVEfmt ",
    b"fLaC\x00\x00\x00\x22",
    b"OggS\x00\x02",
    b"FORM",
    b"ID3\x04\x00",
    b"\xff\xfb\x90\x64",
)

Mutation = Callable[[random.Random, list[bytes]], bytes]


@cache
def sound_mp3s() -> list[bytes]:
    """A second of music each, as `fma sample` makes it, in rates, channels and bit rates of all MPEG versions."""
    shapes = ((44_100, 2, 128), (44_100, 2, 320), (48_000, 1, 64), (22_050, 2, 64), (16_000, 1, 32), (8000, 1, 16))
    genres = ("Rock", "Folk", "Electronic", "Hip-Hop", "Pop", "International")
    return [
        render_mp3(synthesise(genre, 1, i, SECONDS, 0), *shape)
        for i, (genre, shape) in enumerate(zip(genres, shapes, strict=True))
    ]


@cache
def sound_others() -> list[bytes]:
    """The same length in the other formats that libsndfile recognises by content."""
    return [encoded(tone(SECONDS, 22_050, 2), 22_050, name, subtype).getvalue() for name, subtype in OTHER_FORMATS]


@cache
def sound_containers() -> list[bytes]:
    """The same length as people's own files have it: m4a with AAC and ALAC, ogg (chained, too) and wma."""
    kinds = (("aac", "mp4"), ("alac", "mp4"), ("wmav2", "asf"))
    ogg = encoded(tone(SECONDS, 22_050, 2), 22_050, "OGG").getvalue()
    return [*(by_ffmpeg(codec, kind, 22_050, seconds=SECONDS) for codec, kind in kinds), ogg, ogg + ogg]


def flip_bits(chance: random.Random, sound: list[bytes]) -> bytes:
    """1 to 64 bits anywhere."""
    data = bytearray(chance.choice(sound))
    for _ in range(1 << chance.randint(0, 6)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def flip_bits_of_headers(chance: random.Random, sound: list[bytes]) -> bytes:
    """Bits of frame headers and of the side information behind them, which says how a frame is to be read."""
    data = bytearray(chance.choice(sound))
    for frame in chance.sample(frames_of(bytes(data)), 1 << chance.randint(0, 3)):
        for _ in range(chance.randint(1, 4)):
            data[frame.start + chance.randrange(min(36, len(frame)))] ^= 1 << chance.randrange(8)
    return bytes(data)


def truncate(chance: random.Random, sound: list[bytes]) -> bytes:
    """Cut off at the end, at the beginning or at both."""
    data = chance.choice(sound)
    start = chance.choice((0, 0, chance.randrange(len(data))))
    return data[start : chance.randint(start, len(data))]


def random_bytes(chance: random.Random, sound: list[bytes]) -> bytes:
    """Noise, bare or behind a format's first bytes."""
    return chance.choice((b"", *MAGIC)) + chance.randbytes(1 << chance.randint(0, 14))


def splice_frames(chance: random.Random, sound: list[bytes]) -> bytes:
    """Frames of several files, of other rates and channels too: shuffled, repeated, left out."""
    frames = [data[frame.start : frame.stop] for data in chance.sample(sound, 2) for frame in frames_of(data)]
    drawn = chance.choices(frames, k=chance.randint(1, 2 * len(frames)))
    return b"".join(drawn if chance.random() < 0.5 else sorted(drawn, key=frames.index))


def overwrite_a_piece(chance: random.Random, sound: list[bytes]) -> bytes:
    """A piece becomes zeros, ones or noise."""
    data = bytearray(chance.choice(sound))
    start = chance.randrange(len(data))
    length = min(len(data) - start, 1 << chance.randint(0, 13))
    data[start : start + length] = chance.choice((bytes(length), b"\xff" * length, chance.randbytes(length)))
    return bytes(data)


def insert_a_piece(chance: random.Random, sound: list[bytes]) -> bytes:
    """Noise or a piece of a file, within the file or between two frames."""
    data = chance.choice(sound)
    places = [frame.start for frame in frames_of(data)] or [0]
    at = chance.choice((chance.choice(places), chance.randrange(len(data))))
    piece = chance.choice(
        (chance.randbytes(1 << chance.randint(0, 12)), chance.choice(sound)[: chance.randrange(4096)])
    )
    return data[:at] + piece + data[at:]


def mutate_id3(chance: random.Random, sound: list[bytes]) -> bytes:
    """A tag before the music: any version, flags and size, with text frames that lie about their length."""
    frames = b""
    for _ in range(chance.randint(0, 4)):
        name = chance.choice((b"TIT2", b"APIC", b"TXXX", b"COMM", b"\0\0\0\0", chance.randbytes(4)))
        size = chance.choice((0, 10, 1 << 20, 0xFFFFFFFF, chance.getrandbits(32))).to_bytes(4, "big")
        frames += name + size + chance.randbytes(2) + chance.randbytes(chance.randint(0, 200))
    length = chance.choice((len(frames), 0, len(frames) + 100_000, chance.getrandbits(28)))
    size = bytes((length >> shift) & (0x7F if chance.random() < 0.8 else 0xFF) for shift in (21, 14, 7, 0))
    head = b"ID3" + bytes((chance.randint(0, 5), 0, chance.choice((0, 0x80, 0x40, 0x10, chance.getrandbits(8)))))
    data = chance.choice(sound)
    end = b"TAG" + chance.randbytes(125) if chance.random() < 0.3 else b""
    return head + size + frames + data[after_id3(data) :] + end


def mutate_xing(chance: random.Random, sound: list[bytes]) -> bytes:
    """The first frame's facts: how many frames and bytes there are, where to seek, what the encoder padded."""
    data = bytearray(chance.choice(sound))
    at = next((found for name in XING if (found := data.find(name, 0, 4000)) >= 0), 0)
    for _ in range(chance.randint(1, 3)):
        field = at + chance.choice((4, 8, 12, 16 + chance.randrange(100), 116, 120 + chance.randrange(36)))
        value = chance.choice((0, 1, 0xFFFFFFFF, 0x7FFFFFFF, chance.getrandbits(32)))
        data[field : field + 4] = value.to_bytes(4, "big")
    if chance.random() < 0.1:
        data[at : at + 4] = b"VBRI"
    return bytes(data)


def mutate_other_format(chance: random.Random, _: list[bytes]) -> bytes:
    """Return bytes in wav, flac, ogg and others: users name any file .mp3, and libsndfile goes by the content."""
    return chance.choice((flip_bits, truncate, overwrite_a_piece, flip_head))(chance, sound_others())


def flip_head(chance: random.Random, sound: list[bytes]) -> bytes:
    """Bytes of the first 64, where formats say what they are."""
    data = bytearray(chance.choice(sound))
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(64)] = chance.choice((0, 1, 0x7F, 0xFF, chance.getrandbits(8)))
    return bytes(data)


def swap_pieces(chance: random.Random, sound: list[bytes]) -> bytes:
    """Two pieces change places, so that each part is sound where it no longer belongs."""
    data = chance.choice(sound)
    a, b, c = sorted(chance.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def overwrite_numbers(chance: random.Random, sound: list[bytes]) -> bytes:
    """Sizes, counts and offsets: 2, 4 or 8 bytes of a header become a number that is hardly right."""
    data = bytearray(chance.choice(sound))
    for _ in range(chance.randint(1, 6)):
        size = chance.choice((2, 4, 8))
        at = chance.choice((chance.randrange(600), chance.randrange(len(data) - 600), len(data) - 600))
        value = chance.choice((0, 1, (1 << 8 * size) - 1, 1 << 8 * size - 1, chance.getrandbits(8 * size)))
        data[at : at + size] = value.to_bytes(size, chance.choice(("big", "little")))
    return bytes(data)


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits_of_headers,
    truncate,
    random_bytes,
    splice_frames,
    overwrite_a_piece,
    insert_a_piece,
    mutate_id3,
    mutate_xing,
    mutate_other_format,
)


CONTAINER_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_head,
    truncate,
    overwrite_a_piece,
    overwrite_numbers,
    insert_a_piece,
    swap_pieces,
)
FAMILIES = {"mp3": (MUTATIONS, sound_mp3s), "containers": (CONTAINER_MUTATIONS, sound_containers)}
"""What is damaged, by name: (mutations, what makes the sound files)."""


def damaged_file(seed: int, index: int, family: str = "mp3") -> tuple[str, bytes]:
    """(name of the mutation, bytes) of an input; the same on every machine."""
    chance = random.Random(f"{seed}/{index}")
    mutations, sound = FAMILIES[family]
    mutation = mutations[index % len(mutations)]
    return mutation.__name__, mutation(chance, sound())
