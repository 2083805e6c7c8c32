"""What is counted, for Prometheus. Nothing in it comes from a client: no names, no paths."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCHES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The counters of one server.

    Attributes:
      requests: answered, by path and status; status 0: the client had gone.
      seconds: from a request's head to the end of the answer, of /v1/predict.
      images: scored.
      batches: images a call of the net.
      net_seconds: a call of the net.
      waiting: requests that are worked on or wait.
      bytes: of uploads that are held.
    """

    def __init__(self):
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter(
            "hpa_requests", "Requests answered", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "hpa_predict_seconds",
            "From the head of a request for scores to the end of its answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self.images = Counter("hpa_images", "Images scored", registry=registry)
        self.batches = Histogram(
            "hpa_batch_images", "Images a call of the net", buckets=_BATCHES, registry=registry
        )
        self.net_seconds = Histogram(
            "hpa_net_seconds", "A call of the net", buckets=_SECONDS, registry=registry
        )
        self.waiting = Gauge(
            "hpa_requests_in_work", "Requests that are worked on or wait", registry=registry
        )
        self.bytes = Gauge("hpa_upload_bytes", "Bytes of uploads that are held", registry=registry)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)
