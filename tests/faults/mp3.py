"""Where the frames of an mp3 file lie, so that tests can damage them one by one."""

# ISO/IEC 11172-3 and 13818-3, layer III: kb/s by the header's four bits, for MPEG-1 and for MPEG-2 and 2.5.
BITRATES = (
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}
"""Hz by the header's two bits, by its version: 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5."""


def frames_of(mp3: bytes) -> list[range]:
    """The bytes of each whole layer III frame, its header of 4 bytes included."""
    frames = []
    at = after_id3(mp3)
    while at + 4 <= len(mp3):
        length = frame_length(mp3[at : at + 4])
        if length and at + length <= len(mp3):
            frames.append(range(at, at + length))
        at += length or 1
    return frames


def frame_length(header: bytes) -> int:
    """Bytes of the frame that a header begins; 0 where it is none."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if header[0] != 0xFF or header[1] < 0xE0 or version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return 0
    first = version == 3
    return (144 if first else 72) * 1000 * BITRATES[not first][bitrate - 1] // SAMPLE_RATES[version][rate] + padding


def after_id3(mp3: bytes) -> int:
    """Where an ID3v2 tag ends; 0 where there is none."""
    if not mp3.startswith(b"ID3"):
        return 0
    size = 0
    for byte in mp3[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size
