"""From a file to an answer: decoders in processes of their own, one model for all of them."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from trainers.serving.answers import Answer
from trainers.serving.batching import Batcher
from trainers.serving.decoding import Decoder, OnPayload
from trainers.serving.pictures import Spectrogram
from trainers.serving.scoring import Scorer
from transforms.audio.decoder_process import Limits

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
