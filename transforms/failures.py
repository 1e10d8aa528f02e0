"""Why a track is not in the dataset. Every reason that a user can meet is in these two tables."""

REASONS = {
    "missing_audio": "the metadata names the track, but there is no such file",
    "unreadable_audio": "the file is there, but may not be read",
    "empty_audio": "0 bytes, or tags without audio",
    "corrupt_audio": "not audio, or audio that the decoder gives up on",
    "too_large": "in a zip, and unpacks to more than 2 GiB",
    "truncated_audio": "decoded much shorter than declared",
    "too_short": "shorter than one window",
    "timeout": "not done within the time limit for a track",
    "out_of_memory": "more memory than the limit for a track",
    "decoder_crashed": "the decoder's process died, twice",
}

SKIPPED = {
    "no_genre": "the metadata gives the track no genre",
    "not_in_subset": "the track belongs to a larger subset",
}
