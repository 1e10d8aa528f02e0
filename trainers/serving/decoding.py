"""From a song's bytes to payloads, by ingestion's own code: what a model was trained on is what it is asked about."""

import io
import os
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from transforms.audio.decoder_process import Limits, ProcessDiedError, TrackProcess
from transforms.audio.extract import TrackFacts
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.errors import FmaError, TrackError
from transforms.records.schema import decode_payload, deserialize
from transforms.records.tfrecord import read_records
from transforms.tracks import Track

OnPayload = Callable[[str, np.ndarray], None]
"""Called with (kind, payload), the windows of each kind in order."""

OnStart = Callable[[], OnPayload]
"""Called at the start of each attempt at a song; what an attempt before it was told does not count."""

START_SECONDS = 60.0
"""For a new process to import what it needs; no song's time."""


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

    def decode(self, path: str, start: OnStart, seconds: float | None = None) -> TrackFacts:
        """Hands on the payloads of a file while it is decoded.

        Args:
          path: of the file.
          start: see `OnStart`.
          seconds: that it may take, instead of the limit.

        Raises:
          TrackError: with its reason; unreadable_audio where the disk fails, too, which costs ingestion its run, and
            here one song.
        """
        self._check_open()
        seconds = seconds or self._limits.seconds
        try:
            return self._attempt(path, start(), seconds)
        except ProcessDiedError:
            if self._closed:
                raise
            # Not the song's fault if somebody else's signal did it: one that kills two processes is to blame.
            return self._attempt(path, start(), seconds)

    def close(self) -> None:
        """Ends the process; a song that is being decoded fails."""
        self._closed = True
        self._process.close()

    def _check_open(self) -> None:
        if self._closed:
            raise TrackError("decoder_crashed", "the decoders are closed")

    def _attempt(self, path: str, on_payload: OnPayload, seconds: float) -> TrackFacts:
        if not self._process.running:
            self._start()
        deadline = time.monotonic() + seconds
        models: list[FmaError] = []

        def write(kind: str, framed: bytes, _: int) -> None:
            self._check_open()
            # The process is not waited for while it always has something to hand over.
            if time.monotonic() > deadline:
                raise TrackError("timeout", f"not done within {seconds:g} s")
            for record in map(deserialize, read_records(io.BytesIO(framed), path)):
                try:
                    on_payload(kind, decode_payload(kind, record.payload, self._config))
                except FmaError as error:
                    models.append(error)
                    raise

        try:
            facts, _ = self._process.extract(Track(0, "", "test", path), 0, write, seconds)
        except FmaError as error:
            if error in models:
                raise
            raise TrackError("unreadable_audio", str(error)) from error
        return facts

    def _start(self) -> None:
        """Has a new process say that nothing is no song: from then on it is as fast as it will be."""
        try:
            self._process.extract(Track(0, "", "test", os.devnull), 0, lambda *_: None, START_SECONDS)
        except ProcessDiedError:
            raise
        except TrackError as error:
            if error.reason == "timeout":
                raise TrackError("timeout", f"the decoder did not start within {START_SECONDS:g} s") from error
