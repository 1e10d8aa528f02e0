"""Windows of songs that are judged at the same time go through the model together."""

import threading
from collections.abc import Callable

import numpy as np

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
