"""What the server counts, for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Meters:
    """The counters of one server."""

    def __init__(self) -> None:
        disable_created_metrics()
        to = self._registry = CollectorRegistry()
        self.requests = Counter("fma_http_requests", "answers by path and status", ["path", "status"], registry=to)
        self.verdicts = Counter("fma_verdicts", "songs that were judged", ["verdict"], registry=to)
        self.refusals = Counter("fma_refusals", "songs without an answer", ["reason"], registry=to)
        self.seconds = Histogram(
            "fma_predict_seconds", "from the first byte of a song to its answer", buckets=SECONDS, registry=to
        )
        self.music = Counter("fma_music_seconds", "length of the songs that were judged", registry=to)
        self.sent = Gauge("fma_songs_sent", "songs that are on their way", registry=to)
        self.inside = Gauge("fma_songs_inside", "songs that are being judged or wait for it", registry=to)
        ProcessCollector(registry=to)

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
