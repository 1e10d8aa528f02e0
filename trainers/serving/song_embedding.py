"""The embedding of a song from its file, as `fma embed` computes those of a dataset's tracks."""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from typing import IO

import numpy as np

from trainers.serving.engine import Decoder, OnPayload
from trainers.training.devices import import_tensorflow
from transforms.audio.decoder_process import Limits
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.dataset.embed import batch_size, embed_track
from transforms.encoders.encoder import inspect_encoder, on_this_machine, open_encoder, read_facts
from transforms.encoders.facts import EncoderFacts
from transforms.errors import UsageError
from transforms.runtime import temporary


def embed_song(path: str, facts: EncoderFacts, config: DatasetConfig, limits: Limits, file: str | None) -> np.ndarray:
    """Return the embedding of a song, float32 [2, D], as a record of its kind has it.

    Args:
      path: the song's.
      facts: of the encoder, as a dataset has them.
      config: of that dataset.
      limits: for decoding.
      file: of the encoder, where it is not one of those that are built here.

    Raises:
      TrackError: the song cannot be decoded.
      UsageError: the encoder is another one than the dataset's, or its file is missing.
    """
    with tempfile.TemporaryFile(dir=temporary.folder()) as windows:  # in memory, those of hours would be gigabytes
        _write_windows(path, facts.reads, config, limits, windows)
        return _embed(_read_windows(facts.reads, config, windows), facts, config, file)


def _write_windows(path: str, kind: str, config: DatasetConfig, limits: Limits, file: IO[bytes]) -> None:
    def start() -> OnPayload:
        file.seek(0)
        file.truncate()
        return write

    def write(_: str, payload: np.ndarray) -> None:
        file.write(payload.tobytes())

    with closing(Decoder(config, (kind,), limits)) as decoder:
        decoder.decode(path, start)


def _read_windows(kind: str, config: DatasetConfig, file: IO[bytes]) -> Iterator[np.ndarray]:
    of_kind = KINDS[kind]
    file.seek(0)
    while data := file.read(of_kind.payload_bytes(config)):
        yield np.frombuffer(data, of_kind.dtype).reshape(of_kind.shape(config))


def _embed(windows: Iterator[np.ndarray], facts: EncoderFacts, config: DatasetConfig, file: str | None) -> np.ndarray:
    with temporary.new_folder() as folder, on_this_machine(_as_file(facts, config, file, folder)) as path:
        found = inspect_encoder(path, config, facts.name, None if read_facts(path) else facts.sample_rate)
        if different := found.differences(facts):
            raise UsageError(
                f"{file or facts.name} is not the encoder of the dataset's embeddings: {'; '.join(different)}"
            )
        return embed_track(open_encoder(path, found, config), windows, batch_size(config))


def _as_file(facts: EncoderFacts, config: DatasetConfig, file: str | None, folder: str) -> str:
    """Return the path of an encoder's file; one that is made of layers here is exported to the folder first."""
    if file is not None and not file.endswith(".keras"):
        return file
    import_tensorflow()
    from trainers.encoders.export import export_encoder
    from trainers.encoders.own import load_own
    from trainers.encoders.table import ENCODERS, build_encoder

    if file is not None:
        network, found = load_own(file, facts.sample_rate)
    elif facts.name in ENCODERS:
        network, found = build_encoder(facts.name, config, version=facts.version)
    else:
        built_in = ", ".join(ENCODERS)
        raise UsageError(f"{facts.name} is not one of {built_in}, which are built in: give its file, --encoder-file")
    export_encoder(network, found, folder)
    return folder
