"""Music theory in numbers: tempo and beat, key, chords and dynamics of a track, from a stream of samples.

Beats, tempo, onsets and the smoothing of chords are librosa's; spectra and chroma are those of
`transforms.fma_statistics`. All is computed at 22,050 Hz, to which other rates are resampled, so that the columns mean
the same in every dataset. docs/theory.md says what each column is.

What a track does not have is 0: tempo and pulse without a beat, shares and clarities in silence. Two columns say
"none" in another way: the key of silence is -1, and its level is the floor of -80 dB.
"""

RHYTHM = (
    "tempo_bpm",
    "tempo_stability",
    "beat_interval_deviation",
    "beat_strength",
    "beat_strength_deviation",
    "pulse_clarity",
    "pulse_at_quarter_of_beat",
    "pulse_at_third_of_beat",
    "pulse_at_half_of_beat",
    "pulse_at_two_beats",
    "pulse_at_three_beats",
    "pulse_at_four_beats",
    "pulse_30_to_45_bpm",
    "pulse_45_to_60_bpm",
    "pulse_60_to_90_bpm",
    "pulse_90_to_120_bpm",
    "pulse_120_to_180_bpm",
    "pulse_180_to_240_bpm",
    "pulse_240_to_360_bpm",
    "pulse_entropy",
    "pulse_entropy_deviation",
    "onsets_per_second",
    "onset_interval_deviation",
    "onset_strength_mean",
    "onset_strength_deviation",
    "onset_strength_skew",
)
INTERVALS = (
    "tonic",
    "minor_second",
    "major_second",
    "minor_third",
    "major_third",
    "fourth",
    "tritone",
    "fifth",
    "minor_sixth",
    "major_sixth",
    "minor_seventh",
    "major_seventh",
)
"""From the tonic to each pitch class above it, by semitones."""

CIRCLES = (
    "fifths_sin",
    "fifths_cos",
    "minor_thirds_sin",
    "minor_thirds_cos",
    "major_thirds_sin",
    "major_thirds_cos",
)
"""The coordinates of tonnetz."""

HARMONY = (
    "key_pitch_class",
    "key_is_major",
    "key_fifths_cos",
    "key_fifths_sin",
    "key_clarity",
    "key_margin",
    "key_stability",
    "major_minus_minor_clarity",
    *(f"share_of_{interval}" for interval in INTERVALS),
    "chord_changes_per_second",
    "chord_clarity_mean",
    "chord_clarity_deviation",
    "chord_variety_bits",
    "share_of_major_chords",
    "share_of_tonic_chords",
    "share_of_fourth_chords",
    "share_of_fifth_chords",
    "chroma_entropy_mean",
    "chroma_entropy_deviation",
    "chroma_change_mean",
    "chroma_change_deviation",
    *(f"tonnetz_{circle}_mean" for circle in CIRCLES),
    *(f"tonnetz_{circle}_deviation" for circle in CIRCLES),
)
DYNAMICS = (
    "level_mean_db",
    "level_deviation_db",
    "level_change_db",
    "dynamic_range_db",
    "crest_factor_db",
    "quiet_share",
    "percussive_share",
    "percussive_share_deviation",
    "percussive_share_of_bass",
    "percussive_share_of_middle",
    "percussive_share_of_treble",
    "harmonic_to_percussive_db",
    "bass_share_of_harmonic",
    "treble_share_of_harmonic",
)
COLUMNS = (*RHYTHM, *HARMONY, *DYNAMICS)
LEVEL_COLUMN = "level_mean_db"
"""The one that says how loud a track is: a gain adds its dB to it."""
