"""What an encoder hears and what it gives: the facts that its file, a dataset and a run hold of it."""

import os
import re
from dataclasses import asdict, dataclass
from typing import Any

from transforms.config import DatasetConfig
from transforms.errors import UsageError

KIND = "embedding"
"""The first part of the name of each kind of embeddings: embedding/NAME."""
FILE = "encoder.json"
"""Lies beside the SavedModel of an encoder, in its folder."""

NAME = "[a-z0-9][a-z0-9_-]{0,63}"
"""The form of an encoder's name, a regular expression."""
SHOWN = 64  # characters of a fact in a message
MOMENTS = ("mean", "deviation")
"""Rows of a record: the mean of each dimension over a track's positions, and its standard deviation."""


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """A frozen encoder: windows of a track in, named outputs at each of its positions (in time or on an image) out."""

    name: str
    reads: str  # the kind whose windows it is given: "raw", as float32 in [-1, 1), or "mel", as uint8
    sample_rate: int  # Hz of the waveform that it hears; with "mel" the dataset's
    outputs: dict[str, int]  # dimensions of each output, by its name, in the order in which they are stored
    sha256: str  # of its weights as they were published, or of its own file
    version: int = 1  # of the code around the weights: loudness, resampling, spectrogram, images
    license: str = ""  # of the weights
    trained_on: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name, re.ASCII):
            raise UsageError(
                f"{self.name!r} cannot be an encoder's name: use small letters, digits, - and _, at most 64"
            )

    @property
    def kind(self) -> str:
        """The kind of its records in a dataset: embedding/NAME."""
        return f"{KIND}/{self.name}"

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of a record's payload, float32."""
        return len(MOMENTS), self.dimensions

    @property
    def dimensions(self) -> int:
        """The dimensions of all outputs together."""
        return sum(self.outputs.values())

    def columns(self, output: str) -> slice:
        """Return where an output's dimensions lie among those of all outputs."""
        start = 0
        for name, size in self.outputs.items():
            if name == output:
                return slice(start, start + size)
            start += size
        raise UsageError(f"encoder {self.name} gives no {output!r}; it gives {', '.join(self.outputs)}")

    def differences(self, other: "EncoderFacts") -> list[str]:
        """Return what would make the other's embeddings differ, each with both values."""
        names = ("sha256", "version", "reads", "sample_rate", "outputs")
        pairs = [(name, _text(getattr(self, name)), _text(getattr(other, name))) for name in names]
        return [f"{name} is {mine[:SHOWN]}, not {others[:SHOWN]}" for name, mine, others in pairs if mine != others]

    def fits(self, config: DatasetConfig) -> bool:
        """Return whether a dataset with these settings has the windows that it reads."""
        return self.reads in config.features

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "EncoderFacts":
        """Build it from what `to_json` returned; TypeError or ValueError for anything else."""
        facts = cls(**values)
        numbers = facts.sample_rate, facts.version, *facts.outputs.values()
        texts = facts.sha256, facts.license, facts.trained_on, *facts.outputs
        sound = all(type(number) is int and number > 0 for number in numbers) and facts.outputs
        if facts.reads not in ("raw", "mel") or not sound or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"the facts of encoder {facts.name!r} cannot be right")
        return facts


def name_of_file(path: str) -> str:
    """Return the name of an encoder whose file or folder lies at a path: that of the file, in the form of `NAME`."""
    stem = os.path.splitext(os.path.basename(path.rstrip("/")))[0]
    return re.sub("[^a-z0-9_-]", "-", stem.lower())


def _text(value: object) -> str:
    return ", ".join(f"{name} {size}" for name, size in value.items()) if isinstance(value, dict) else str(value)
