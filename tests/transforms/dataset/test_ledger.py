from transforms.dataset.generation import FAILURES, TRACKS
from transforms.dataset.ledger import FailedTrack, IngestedTrack, failed_line, ingested_line, parse_line
from transforms.errors import TrackError
from transforms.tracks import Track, TrackFacts

SONG = Track(7, "Rock", "test", "7.mp3", artist="Ann", size=12)


def test_a_line_comes_back_as_the_track_with_what_was_found_out_about_it():
    facts = TrackFacts(30.0, 5, False, "f00", decoder="sndfile", declared_seconds=31.5, truncated=True)
    line = ingested_line(SONG, facts, crc32=9, digest=255)
    assert line == (
        b'{"track_id": 7, "genre": "Rock", "split": "test", "path": "7.mp3", "artist": "Ann", "size": 12, '
        b'"seconds": 30.0, "windows": 5, "silent": false, "audio_sha256": "f00", "zeroed_share": 0.0, '
        b'"decoder": "sndfile", "declared_seconds": 31.5, "truncated": true, "antiphase": false, "crc32": 9, '
        b'"digest": "' + b"0" * 62 + b'ff"}\n'
    )
    parsed = parse_line(TRACKS, line)
    assert isinstance(parsed, IngestedTrack)
    assert (parsed.track_id, parsed.artist, parsed.crc32, parsed.digest) == (7, "Ann", 9, f"{255:064x}")
    assert parsed.facts == facts
    assert [flag for flag, present in parsed.facts.flags.items() if present] == ["truncated"]


def test_a_failure_comes_back_with_its_reason():
    line = failed_line(SONG, TrackError("empty_audio", "the file has 0 bytes"))
    assert line.endswith(b'"size": 12, "reason": "empty_audio", "message": "the file has 0 bytes"}\n')
    found = FailedTrack(7, "Rock", "test", "7.mp3", artist="Ann", size=12, reason="empty_audio")
    assert parse_line(FAILURES, line.replace(b"the file has 0 bytes", b"")) == found


def test_lines_of_other_versions_are_read():
    older = b'{"track_id": 7, "genre": "Rock", "split": "test", "seconds": 2.5, "windows": 1, "silent": true}\n'
    assert parse_line(TRACKS, older) == IngestedTrack(7, "Rock", "test", seconds=2.5, windows=1, silent=True)
    newer = older.replace(b"}", b', "tempo": 120}')
    assert parse_line(TRACKS, newer) == parse_line(TRACKS, older)
