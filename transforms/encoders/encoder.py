"""An encoder's file as an object: windows of a dataset in, outputs at each position out.

Either it is a folder of `fma export --encoder`, whose encoder.json says what it gives, or anybody's network that takes
a waveform at a stated rate; then the windows are resampled, and what it gives is found by asking it once.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np

from transforms import storage
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.encoders.facts import FILE, EncoderFacts, name_of_file
from transforms.encoders.networks import Network, first_line, open_network
from transforms.errors import FmaError, UsageError
from transforms.runtime import temporary

FOREIGN_VERSION = 1
"""Goes up when the same file would give other embeddings: where its windows are cut or resampled in another way."""


class Encoder(Protocol):
    """A frozen encoder that is ready to compute."""

    facts: EncoderFacts

    def encode(self, windows: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return each output, float32 [batch, d] or [batch, positions, d].

        Args:
          windows: as `EncoderFacts.reads` says: float32 [batch, samples] at the dataset's rate, or uint8 [batch,
            n_mels, frames].
        """


class FileEncoder:
    """An `Encoder` of a network.

    Args:
      path: its file or folder, for messages.
      facts: with the rate of the waveform that it takes: windows are resampled where the dataset has another one.
      config: of the dataset.
    """

    def __init__(self, path: str, network: Network, facts: EncoderFacts, config: DatasetConfig):
        self.facts = facts
        self._path, self._network, self._config = path, network, config
        self._resamples = facts.reads == "raw" and facts.sample_rate != config.sample_rate

    def encode(self, windows: np.ndarray) -> Mapping[str, np.ndarray]:
        """See `Encoder`."""
        if self.facts.reads == "mel":
            return self._ask(windows)
        waveforms = self._resample(windows) if self._resamples else windows
        samples = self._network.shape[-1]
        pieces = 1 if samples is None else waveforms.shape[1] // samples
        if not pieces:
            raise UsageError(f"{self._path} takes {samples:,} samples, and a window has {waveforms.shape[1]:,}")
        if samples is not None:  # a window longer than that is cut: its pieces are positions in time
            waveforms = waveforms[:, : pieces * samples].reshape(-1, samples)
        batched = len(self._network.shape) == 2 and self._network.shape[0] != 1
        found = self._ask(waveforms) if batched else self._ask_each(waveforms)
        return {name: values.reshape(len(windows), -1, values.shape[-1]) for name, values in found.items()}

    def _resample(self, windows: np.ndarray) -> np.ndarray:
        import soxr

        rates = self._config.sample_rate, self.facts.sample_rate
        return np.stack([soxr.resample(window, *rates, self._config.resampler) for window in windows])

    def _ask(self, batch: np.ndarray) -> Mapping[str, np.ndarray]:
        found = self._network(batch)
        for name, values in found.items():
            if values.ndim < 2 or len(values) != len(batch):
                shape = list(values.shape)
                raise UsageError(f"{self._path} gives {name} of shape {shape} for a batch of {len(batch)}: {SHAPES}")
        return found

    def _ask_each(self, waveforms: np.ndarray) -> Mapping[str, np.ndarray]:
        """Ask for one waveform at a time, of a network that takes no batch."""
        alone = len(self._network.shape) == 1
        found = [self._network(waveform if alone else waveform[None]) for waveform in waveforms]
        if wrong := [name for name, values in found[0].items() if not values.ndim]:
            raise UsageError(f"{self._path} gives {wrong[0]} as one number: {SHAPES}")
        return {name: np.stack([one[name].reshape(-1, one[name].shape[-1]) for one in found]) for name in found[0]}

    def probe(self) -> dict[str, int]:
        """Return the dimensions of each output, by asking for two windows of noise.

        Raises:
          UsageError: it does not take such windows, or gives something else than finite numbers.
        """
        kind = KINDS[self.facts.reads]
        noise = np.random.default_rng(0).integers(0, 255, (2, *kind.shape(self._config)), np.uint8)
        windows = noise if self.facts.reads == "mel" else noise.astype(np.float32) / 128 - 1
        try:
            found = self.encode(windows)
        except FmaError:
            raise
        except Exception as error:
            shape = f"{self.facts.reads} windows {list(windows.shape)}"
            raise UsageError(f"{self._path} does not take {shape}: {first_line(error)}") from error
        for name, values in found.items():
            if values.dtype.kind != "f" or not np.isfinite(values).all():
                raise UsageError(f"{self._path} gives {name} as {values.dtype} that are not finite numbers for noise")
        # A SavedModel has its outputs in another order each time that it is loaded.
        return {name: found[name].shape[-1] for name in sorted(found)}


EXPORT_IT = "export the encoder for this dataset"
SHAPES = "an encoder gives [batch, d] or [batch, time, d], or for one waveform [time, d]"


def read_facts(path: str) -> EncoderFacts | None:
    """Return what encoder.json says of the folder that it lies in; None where there is none.

    Raises:
      FmaError: it is damaged.
    """
    file = storage.join(path, FILE)
    try:
        return EncoderFacts.from_json(json.loads(storage.read_bytes(file)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, UsageError) as error:
        raise FmaError(f"{file} is damaged ({error}): export the encoder again") from error


def inspect_encoder(path: str, config: DatasetConfig, name: str | None, rate: int | None) -> EncoderFacts:
    """Return the facts of an encoder's file; of one that has no encoder.json, by loading it and asking it once.

    Args:
      path: a local file or folder.
      config: of the dataset whose windows it is to read.
      name: to give it; None for its own, or the file's.
      rate: Hz of the waveform that it takes, where it has no encoder.json; else None.

    Raises:
      UsageError: it has another form, or a rate is missing.
      FmaError: it is damaged.
    """
    facts = read_facts(path)
    if facts is not None:
        if rate is not None:
            raise UsageError(f"{path} says itself at which rate it hears: leave --encoder-rate out")
        if facts.reads == "mel" and facts.sample_rate != config.sample_rate:
            raise UsageError(
                f"{path} was exported for mel windows of {facts.sample_rate} Hz, and the dataset's are of "
                f"{config.sample_rate}: {EXPORT_IT}"
            )
        return replace(facts, name=name or facts.name)
    if not os.path.exists(path):
        raise UsageError(f"{path}: there is no such file or folder")
    if rate is None:
        raise UsageError(f"{path} does not say at which rate it hears: give --encoder-rate, in Hz")
    network = open_network(path)
    facts = EncoderFacts(name or name_of_file(path), "raw", rate, {}, _hash(path), FOREIGN_VERSION)
    return replace(facts, outputs=FileEncoder(path, network, facts, config).probe())


def open_encoder(path: str, facts: EncoderFacts, config: DatasetConfig) -> FileEncoder:
    """Load an encoder whose facts are known.

    Raises:
      UsageError: it does not take the windows of a dataset with these settings.
      FmaError: it is damaged, or is another one.
    """
    network = open_network(path)
    shape = KINDS[facts.reads].shape(config)
    exported = read_facts(path) is not None and facts.sample_rate == config.sample_rate
    if exported and any(size not in (None, want) for size, want in zip(network.shape[1:], shape, strict=False)):
        takes = list(network.shape[1:])
        raise UsageError(f"{path} takes windows {takes}, and the dataset's are {list(shape)}: {EXPORT_IT}")
    encoder = FileEncoder(path, network, facts, config)
    found = encoder.probe()
    if any(found.get(name) != size for name, size in facts.outputs.items()):
        raise FmaError(f"{path} gives {_describe(found)}, where {_describe(facts.outputs)} was expected")
    return encoder


def _describe(outputs: Mapping[str, int]) -> str:
    return ", ".join(f"{name} [{size}]" for name, size in outputs.items())


def _hash(path: str) -> str:
    """Return the sha256 of a file; of a folder's files, with their names."""
    if not os.path.isdir(path):
        return hashlib.sha256(storage.read_bytes(path)).hexdigest()
    hashed = hashlib.sha256()
    for file, size in storage.list_files(path):
        hashed.update(f"{file.removeprefix(path)} {size}\n".encode())
        hashed.update(storage.read_bytes(file))
    return hashed.hexdigest()


@contextmanager
def on_this_machine(path: str) -> Iterator[str]:
    """Yield the local path of an encoder's file or folder; one in a bucket is copied for the time of the body."""
    if storage.is_local(path):
        yield path.removeprefix("file://")
        return
    with temporary.new_folder() as folder:
        copy_files(path, storage.join(folder, os.path.basename(path.rstrip("/"))))
        yield storage.join(folder, os.path.basename(path.rstrip("/")))


def copy_files(path: str, target: str) -> None:
    """Copy a file, or a folder with all in it.

    Raises:
      UsageError: there is nothing at the path.
    """
    if storage.is_dir(path):
        for file, _ in storage.list_files(path):
            storage.write_bytes(target + file.removeprefix(path.rstrip("/")), storage.read_bytes(file))
    elif storage.exists(path):
        storage.write_bytes(target, storage.read_bytes(path))
    else:
        raise UsageError(f"{path}: there is no such file or folder")
