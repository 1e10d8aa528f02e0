"""The settings that define a dataset: audio, windows and features, validated together and stored in dataset.json."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from math import inf, isfinite
from typing import Any

from transforms.errors import UsageError


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """Settings that every record of a dataset shares."""

    # names of the feature kinds to write, in the order of `transforms.audio.features.KINDS`
    features: tuple[str, ...] = ("mel", "raw", "stats")
    sample_rate: int = 22_050  # Hz, of the mono signal that all features are computed from
    n_fft: int = 2048  # samples in an STFT frame
    hop_length: int = 512  # samples from one frame to the next
    n_mels: int = 224  # mel bands
    window_frames: int = 224  # frames in a window; a window holds window_frames * hop_length samples
    window_hop_frames: int = 224  # frames from one window's start to the next; window_frames means no overlap
    db_min: float = -80.0  # dB (re 1.0, power) that log-mel value 0 stands for
    db_step: float = 0.5  # dB between two neighbouring log-mel values; value 255 stands for db_min + 255 * db_step
    resampler: str = "HQ"  # soxr quality; it moves the top mel bands by decibels, so it is part of the definition

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return self.window_frames * self.hop_length

    @property
    def window_hop_samples(self) -> int:
        """Samples from one window's start to the next."""
        return self.window_hop_frames * self.hop_length

    @property
    def window_seconds(self) -> float:
        """Length of a window in seconds."""
        return self.window_samples / self.sample_rate

    def count_windows(self, samples: int) -> int:
        """Return the number of whole windows in a signal of so many samples; the rest at its end is dropped."""
        return max(0, (samples - self.window_samples) // self.window_hop_samples + 1)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for dataset.json."""
        return asdict(self) | {"features": list(self.features)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "DatasetConfig":
        """Build it from what `to_json` returned; KeyError, TypeError or ValueError for anything else."""
        config = cls(**values | {"features": tuple(values["features"])})
        for field in fields(cls):
            value, wanted = getattr(config, field.name), type(field.default)
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise TypeError(f"{field.name} is {value!r}")
        return config

    @property
    def digest(self) -> str:
        """16 hex digits that are equal for equal settings, on any machine."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(have: DatasetConfig, want: DatasetConfig) -> list[str]:
    """Return the settings that differ, each with both values."""
    return [
        f"{field.name} is {getattr(have, field.name)}, not {getattr(want, field.name)}"
        for field in fields(DatasetConfig)
        if getattr(have, field.name) != getattr(want, field.name)
    ]


def validate(config: DatasetConfig, known_features: tuple[str, ...]) -> DatasetConfig:
    """Return the config with its features in table order; raise a UsageError that names every bad value."""
    unknown = [name for name in config.features if name not in known_features]
    checks = {
        f"--features: unknown kind {', '.join(unknown)} (there are {', '.join(known_features)})": not unknown,
        "--features: name at least one kind": bool(config.features),
        "--sample-rate must be 8000 to 96000": 8_000 <= config.sample_rate <= 96_000,
        "--n-fft must be even, 64 to 65536": 64 <= config.n_fft <= 65_536 and config.n_fft % 2 == 0,
        "--hop-length must be 1 to n_fft": 1 <= config.hop_length <= config.n_fft,
        "--n-mels must be 1 to n_fft / 2": 1 <= config.n_mels <= config.n_fft // 2,
        "--window-frames must be at least 1": config.window_frames >= 1,
        "--window-hop-frames must be at least 1": config.window_hop_frames >= 1,
        "--db-min must be a finite number": isfinite(config.db_min),
        "--db-step must be positive": 0 < config.db_step < inf,
        "--resampler must be QQ, LQ, MQ, HQ or VHQ": config.resampler in ("QQ", "LQ", "MQ", "HQ", "VHQ"),
    }
    problems = [message for message, holds in checks.items() if not holds]
    if problems:
        raise UsageError("; ".join(problems))
    return replace(config, features=tuple(name for name in known_features if name in config.features))
