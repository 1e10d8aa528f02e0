"""From a file to an answer: decoders in processes of their own, and one model for all of them."""

import io
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from trainers.serving.answers import Answer
from trainers.serving.inputs import Song
from trainers.serving.partial_answer import Forward, PartialAnswer, Rows, Scored, Spectrogram, Tagged
from trainers.serving.scorers import Scorer
from trainers.serving.tagger import Tagger
from transforms.audio.decoder_process import Limits, ProcessDiedError, TrackProcess
from transforms.audio.features import KINDS
from transforms.config import DatasetConfig
from transforms.errors import FmaError, TrackError
from transforms.records import decode_payload, deserialize, read_records
from transforms.runtime import temporary
from transforms.tracks import Track, TrackFacts

OnPayload = Callable[[str, np.ndarray], None]  # called with (kind, payload), the windows of each kind in order

LARGEST_BATCH = 128
NO_GENRES = (-1, ())  # in the records of a song whose genres are to be found
START_SECONDS = 60.0  # for a new process to import what it needs; these do not count against a song's limit
WARM_UP_SECONDS = 300.0


class Batcher:
    """Calls a model from any number of threads, one call at a time.

    The thread that gets the model takes the requests of all threads that wait for it, so batches grow with the load,
    and a song that is alone does not wait.

    Args:
      forward: the model.
      largest: most payloads in a batch; a request is not cut.
    """

    def __init__(self, forward: Forward, largest: int):
        self._forward, self._largest = forward, largest
        self._waiting: list[tuple[np.ndarray, Future[Rows]]] = []
        self._list = threading.Lock()
        self._model = threading.Lock()

    def __call__(self, values: np.ndarray) -> Rows:
        """Return the model's rows for payloads [b, ...]; its errors are raised for each request of the batch."""
        result: Future[Rows] = Future()
        with self._list:
            self._waiting.append((values, result))
        while not result.done():
            with self._model:
                if not result.done():
                    self._run(self._take())
        return result.result()

    def _take(self) -> list[tuple[np.ndarray, Future[Rows]]]:
        with self._list:
            count = size = 0
            for values, _ in self._waiting:
                size += len(values)
                if count and size > self._largest:
                    break
                count += 1
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
            return taken

    def _run(self, requests: list[tuple[np.ndarray, Future[Rows]]]) -> None:
        values = [part for part, _ in requests]
        try:
            rows = self._forward(values[0] if len(values) == 1 else np.concatenate(values))
        except Exception as error:  # noqa: BLE001 - raised again in the thread of each request
            for _, result in requests:
                result.set_exception(error)
            return
        ends = np.cumsum([len(part) for part in values])[:-1]
        parts = [np.split(array, ends) for array in rows]
        for i, (_, result) in enumerate(requests):
            result.set_result(tuple(part[i] for part in parts))


class Decoder:
    """Decodes one song at a time, in a process of its own with limits for time and memory.

    Args:
      config: of the dataset that the model was trained on.
      kinds: feature kinds to compute.
      limits: for one song; its time includes that of `OnPayload`.
    """

    def __init__(self, config: DatasetConfig, kinds: tuple[str, ...], limits: Limits):
        ordered = tuple(kind for kind in KINDS if kind in kinds)
        self._config, self._limits = replace(config, features=ordered), limits
        self._process = TrackProcess(self._config, limits)
        self._closed = False

    def decode(self, path: str, start: Callable[[], OnPayload], seconds: float | None = None) -> TrackFacts:
        """Pass on the payloads of a file while it is decoded.

        Args:
          path: of the file.
          start: called at the start of each attempt; the payloads of an earlier attempt do not count.
          seconds: time limit, instead of the decoder's.

        Raises:
          TrackError: with its reason; where the disk fails, too, unreadable_audio.
        """
        self._check_open()
        seconds = seconds or self._limits.seconds
        try:
            return self._attempt(path, start, seconds)
        except ProcessDiedError:
            if self._closed:
                raise
            # The process may have died of a signal from outside; a song that kills two processes is to blame.
            return self._attempt(path, start, seconds)

    def close(self) -> None:
        """End the process; a song that is being decoded fails."""
        self._closed = True
        self._process.close()

    def _check_open(self) -> None:
        if self._closed:
            raise TrackError("decoder_crashed", "the decoders are closed")

    def _attempt(self, path: str, start: Callable[[], OnPayload], seconds: float) -> TrackFacts:
        if not self._process.running:
            self._start()
        deadline = time.monotonic() + seconds
        on_payload = start()
        model_errors: list[FmaError] = []

        def write(kind: str, framed: bytes, _: int) -> None:
            self._check_open()
            # The process's own limit only counts while we wait for it, and it may always have something to pass on.
            if time.monotonic() > deadline:
                raise self._limits.timeout(seconds)
            for record in map(deserialize, read_records(io.BytesIO(framed), path)):
                try:
                    on_payload(kind, decode_payload(kind, record.payload, self._config))
                except FmaError as error:
                    model_errors.append(error)
                    raise

        def restart() -> None:
            nonlocal on_payload
            on_payload = start()

        try:
            song = Track(0, "", "test", path)
            facts, _ = self._process.extract(song, NO_GENRES, write, restart=restart, seconds=seconds)
        except FmaError as error:
            if error in model_errors:
                raise
            raise TrackError("unreadable_audio", str(error)) from error
        return facts

    def _start(self) -> None:
        """Start a process and let it decode an empty file, so that it has imported everything."""
        try:
            empty = Track(0, "", "test", os.devnull)
            self._process.extract(empty, NO_GENRES, lambda *_: None, restart=lambda: None, seconds=START_SECONDS)
        except ProcessDiedError:
            raise
        except TrackError as error:
            if error.reason == "timeout":
                raise TrackError(
                    "timeout", f"the decoder did not start within {START_SECONDS:g} s: try again"
                ) from error


class Engine:
    """Predicts the genres of songs; may be called from several threads.

    Args:
      scorer: the model.
      limits: for one song.
      decoders: songs that are decoded at the same time.
      spectrograms: whether answers have one.
      tagger: gives answers tags, or None.
    """

    def __init__(
        self,
        scorer: Scorer,
        limits: Limits,
        decoders: int,
        *,
        spectrograms: bool = False,
        tagger: Tagger | None = None,
    ):
        self.scorer, self.tagger = scorer, tagger
        self._spectrograms = spectrograms
        self._batchers = {kind: Batcher(partial(scorer.rows, kind), LARGEST_BATCH) for kind in scorer.kinds}
        self._tagged = partial(Tagged, tagger, Batcher(tagger.rows, LARGEST_BATCH)) if tagger else lambda: None
        kinds = (*scorer.kinds, *(["mel"] if spectrograms else []), *([tagger.kind] if tagger else []))
        self._decoders = [Decoder(scorer.config, kinds, limits) for _ in range(decoders)]
        self._idle: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)

    def predict(self, path: str, seconds: float | None = None) -> Answer:
        """Return the genres of the song in a file; `seconds` is a time limit instead of the engine's.

        Raises:
          TrackError: with the reason why there is no answer.
          FmaError: the model's output is not a number.
        """
        songs: list[PartialAnswer] = []

        def start() -> OnPayload:
            picture = Spectrogram(self.scorer.config.window_hop_frames) if self._spectrograms else None
            scored = [Scored(kind, batcher) for kind, batcher in self._batchers.items()]
            songs.append(PartialAnswer(self.scorer, scored, self._tagged(), picture))
            return songs[-1].add

        decoder = self._idle.get()
        try:
            facts = decoder.decode(path, start, seconds)
        finally:
            self._idle.put(decoder)
        return replace(songs[-1].finish(facts.seconds, facts.silent), audio_sha256=facts.audio_sha256)

    def predict_all(self, songs: Sequence[Song]) -> Iterator[Answer | TrackError]:
        """Predict songs at once; yields the answer for each, or the reason why there is none, in their order."""

        def predict(song: Song) -> Answer | TrackError:
            if song.failure:
                return song.failure
            try:
                answer = self.predict(song.path)
            except TrackError as error:
                return error
            return replace(answer, embedding=answer.embedding[:0])  # answers are kept until all songs are done

        pool = ThreadPoolExecutor(len(self._decoders))
        try:
            yield from pool.map(predict, songs)
        finally:
            # Ctrl-C: waiting songs are not started, and closing the engine ends those that are being decoded.
            pool.shutdown(wait=False, cancel_futures=True)

    def warm_up(self) -> None:
        """Predict noise with every decoder, so that the first song does not wait for what is done once.

        Raises:
          FmaError: that fails.
        """
        import soundfile

        config = self.scorer.config
        noise = 0.1 * np.random.default_rng(0).standard_normal(2 * config.window_samples, np.float32)
        count = len(self._decoders)
        with temporary.new_folder() as folder, ThreadPoolExecutor(count) as pool:
            sound = io.BytesIO()  # libsndfile's error of a full disk would not say so
            soundfile.write(sound, noise, config.sample_rate, format="WAV")
            path = os.path.join(folder, "noise.wav")
            with open(path, "wb") as file:
                file.write(sound.getvalue())
            try:
                list(pool.map(self.predict, [path] * count, [WARM_UP_SECONDS] * count))
            except TrackError as error:
                raise FmaError(f"no song can be predicted on this machine, not even noise: {error}") from error

    def close(self) -> None:
        """End the decoders; songs that are being decoded fail."""
        for decoder in self._decoders:
            decoder.close()
