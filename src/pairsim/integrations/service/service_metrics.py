"""Figures of the service for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pairsim.errors import require

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class ServiceMetrics:
    """Counts requests and batches.

    Args:
        waiting: Returns the pictures that are accepted and not yet embedded.
        gallery_size: Returns the number of pictures in the gallery.

    Raises:
        MissingExtraError: If prometheus_client is not installed.
    """

    def __init__(self, *, waiting: Callable[[], int], gallery_size: Callable[[], int]) -> None:
        client: Any = require("prometheus_client", extra="serve", purpose="The service")
        self._registry = client.CollectorRegistry()
        made: dict[str, Any] = {"registry": self._registry}
        self._requests = client.Counter("pairsim_requests", "Requests that were answered.", ["route", "status"], **made)
        self._seconds = client.Histogram(
            "pairsim_request_seconds", "From its headers to its answer.", ["route"], buckets=_SECONDS, **made
        )
        self._batches = client.Histogram(
            "pairsim_batch_pictures", "Pictures in a batch of the model.", buckets=_BATCHES, **made
        )
        client.Gauge(
            "pairsim_waiting_pictures", "Pictures that are accepted and not yet embedded.", **made
        ).set_function(waiting)
        client.Gauge("pairsim_gallery_pictures", "Pictures in the gallery.", **made).set_function(gallery_size)
        self._text = client.generate_latest
        self.content_type: str = str(client.CONTENT_TYPE_LATEST)
        self._of_route: dict[tuple[str, int], tuple[Any, Any]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        key = route, status
        if key not in self._of_route:
            self._of_route[key] = self._requests.labels(route, str(status)), self._seconds.labels(route)
        counter, histogram = self._of_route[key]
        counter.inc()
        histogram.observe(seconds)

    def batch(self, num_pictures: int) -> None:
        """Count a batch."""
        self._batches.observe(num_pictures)

    def text(self) -> bytes:
        """Return all figures in the text format of Prometheus."""
        found: bytes = self._text(self._registry)
        return found
