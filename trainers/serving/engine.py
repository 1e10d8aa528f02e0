"""From a file to an answer: decoders in processes of their own, one model for all of them."""

import io
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from trainers.serving.answers import Answer
from trainers.serving.pictures import Spectrogram
from trainers.serving.scorers import Scorer
from transforms.audio.decoder_process import Limits, ProcessDiedError, TrackProcess
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.errors import FmaError, TrackError
from transforms.records import decode_payload, deserialize, read_records
from transforms.tracks import Track, TrackFacts

Rows = tuple[np.ndarray, ...]
Forward = Callable[[np.ndarray], Rows]
"""Payloads [b, ...] -> arrays [b, ...]."""


class _Request:
    def __init__(self, values: np.ndarray):
        self.values = values
        self.result: Rows | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.result is not None or self.error is not None


class Batcher:
    """Calls a model from any number of threads, one call at a time.

    Whoever gets the model takes along what the others have been waiting with meanwhile, so batches are as large as the
    load makes them, and a song that is alone does not wait for anybody.

    Args:
      forward: the model.
      largest: most payloads in a batch; a request is not cut.
    """

    def __init__(self, forward: Forward, largest: int):
        self._forward, self._largest = forward, largest
        self._waiting: list[_Request] = []
        self._list = threading.Lock()
        self._model = threading.Lock()

    def __call__(self, values: np.ndarray) -> Rows:
        """The model's rows for payloads [b, ...]; what it raises is raised for each request of the batch."""
        request = _Request(values)
        with self._list:
            self._waiting.append(request)
        while not request.done:
            with self._model:
                if not request.done:
                    self._run(self._take())
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _take(self) -> list[_Request]:
        with self._list:
            count = size = 0
            for request in self._waiting:
                size += len(request.values)
                if count and size > self._largest:
                    break
                count += 1
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
            return taken

    def _run(self, requests: list[_Request]) -> None:
        values = [request.values for request in requests]
        try:
            rows = self._forward(values[0] if len(values) == 1 else np.concatenate(values))
        except Exception as error:  # noqa: BLE001 - raised again in the thread of each request
            for request in requests:
                request.error = error
            return
        ends = np.cumsum([len(part) for part in values])[:-1]
        parts = [np.split(array, ends) for array in rows]
        for i, request in enumerate(requests):
            request.result = tuple(part[i] for part in parts)


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


WINDOWS = 32
"""Of one song that go through the model at once; a song's memory does not grow beyond them."""

LARGEST_BATCH = 128


class Engine:
    """Judges songs; may be called from several threads.

    Args:
      scorer: the model.
      limits: what one song may cost.
      decoders: songs that are decoded at the same time.
      spectrograms: whether answers have one.
    """

    def __init__(self, scorer: Scorer, limits: Limits, decoders: int, *, spectrograms: bool = False):
        self.scorer = scorer
        self._spectrograms = spectrograms
        self._batcher = Batcher(scorer.rows, LARGEST_BATCH)
        kinds = (scorer.kind, "mel") if spectrograms else (scorer.kind,)
        self._decoders = [Decoder(scorer.config, kinds, limits) for _ in range(decoders)]
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)

    def judge(self, path: str, seconds: float | None = None) -> Answer:
        """The genres of the song in a file.

        Args:
          path: of the file.
          seconds: that it may take, instead of the limit.

        Raises:
          TrackError: with the reason why there is no answer.
          FmaError: the model's output is not a number.
        """
        songs: list[_Song] = []

        def start() -> OnPayload:
            songs.append(_Song(self.scorer, self._batcher, self._spectrograms))
            return songs[-1].add

        with self._decoder() as decoder:
            facts = decoder.decode(path, start, seconds)
        return songs[-1].answer(facts.seconds, facts.silent)

    @contextmanager
    def _decoder(self) -> Iterator[Decoder]:
        decoder = self._idle.get()
        try:
            yield decoder
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """Ends the decoders; songs that they are at fail."""
        for decoder in self._decoders:
            decoder.close()


class _Song:
    """What is known about a song while it is decoded."""

    def __init__(self, scorer: Scorer, batcher: Batcher, spectrogram: bool):
        self._scorer, self._batcher = scorer, batcher
        self._picture = Spectrogram(scorer.config.window_hop_frames) if spectrogram else None
        self._payloads: list[np.ndarray] = []
        self._logits: list[np.ndarray] = []
        self._features: np.ndarray | float = 0.0
        self._windows = 0

    def add(self, kind: str, payload: np.ndarray) -> None:
        if self._picture is not None and kind == "mel":
            self._picture.push(payload)
        if kind == self._scorer.kind:
            self._payloads.append(payload)
            if len(self._payloads) == WINDOWS:
                self._judge()

    def _judge(self) -> None:
        logits, features = self._batcher(np.stack(self._payloads))
        self._payloads.clear()
        self._logits.append(logits)
        self._features = self._features + features.sum(axis=0, dtype=np.float64)
        self._windows += len(logits)

    def answer(self, seconds: float, silent: bool) -> Answer:
        if self._payloads:
            self._judge()
        scorer, picture = self._scorer, self._picture
        logits = np.concatenate(self._logits)
        mean = np.asarray(self._features / self._windows, np.float32)
        whole, embedding = scorer.song(logits, mean)
        apply = scorer.calibration.apply
        return Answer(
            labels=scorer.labels,
            probabilities=apply(whole[None])[0],
            windows=apply(logits if scorer.by_window else logits[:0]),
            window_seconds=scorer.config.window_seconds,
            hop_seconds=scorer.config.window_hop_samples / scorer.config.sample_rate,
            seconds=seconds,
            silent=silent,
            embedding=embedding,
            spectrogram=picture.picture() if picture else np.empty((0, 0), np.uint8),
            pictured_seconds=picture.frames * scorer.config.hop_length / scorer.config.sample_rate if picture else 0.0,
        )
