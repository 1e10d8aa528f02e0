"""From a song's bytes to payloads, by ingestion's own code: what a model was trained on is what it is asked about."""

import io
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from transforms.config import DatasetConfig
from transforms.errors import TrackError
from transforms.extract import TrackFacts
from transforms.features import KINDS
from transforms.records import read_records
from transforms.sandbox import Limits, ProcessDiedError, TrackProcess
from transforms.schema import decode_payload, deserialize
from transforms.tracks import Track

OnPayload = Callable[[str, np.ndarray], None]
"""Called with (kind, payload), the windows of each kind in order."""

OnStart = Callable[[], OnPayload]
"""Called at the start of each attempt at a song; what an attempt before it was told does not count."""


class Decoder:
    """Decodes one song at a time, in a process of its own with limits for time and memory.

    Args:
      config: of the dataset that the model was trained on.
      kinds: feature kinds to compute.
      limits: what one song may cost; its time includes what `OnPayload` takes.
    """

    def __init__(self, config: DatasetConfig, kinds: tuple[str, ...], limits: Limits):
        ordered = tuple(kind for kind in KINDS if kind in kinds)
        self._config, self._limits = replace(config, features=ordered), limits
        self._process = TrackProcess(self._config, limits)
        self._closed = False

    def decode(self, path: str, start: OnStart) -> TrackFacts:
        """Hands on the payloads of a file while it is decoded.

        Raises:
          TrackError: with its reason.
        """
        if self._closed:
            raise TrackError("decoder_crashed", "the decoders are closed")
        try:
            return self._attempt(path, start())
        except ProcessDiedError:
            if self._closed:
                raise
            # Not the song's fault if somebody else's signal did it: one that kills two processes is to blame.
            return self._attempt(path, start())

    def close(self) -> None:
        """Ends the process; a song that is being decoded fails."""
        self._closed = True
        self._process.close()

    def _attempt(self, path: str, on_payload: OnPayload) -> TrackFacts:
        deadline = time.monotonic() + self._limits.seconds

        def write(kind: str, framed: bytes, _: int) -> None:
            # The process is not waited for while it always has something to hand over.
            if time.monotonic() > deadline:
                raise TrackError("timeout", f"not done within {self._limits.seconds:g} s")
            for record in map(deserialize, read_records(io.BytesIO(framed), path)):
                on_payload(kind, decode_payload(kind, record.payload, self._config))

        facts, _ = self._process.extract(Track(0, "", "test", path), 0, write)
        return facts
