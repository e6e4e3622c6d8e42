"""Figures for Prometheus, read back by its own parser."""

from __future__ import annotations

from typing import Any

import pytest

from pairsim.integrations.service.service_metrics import ServiceMetrics

parser = pytest.importorskip("prometheus_client.parser", reason="needs the extra serve")


def values(metrics: ServiceMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: Any = parser.text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for one in found for sample in one.samples
    }


def test_what_is_counted() -> None:
    waiting = [3]
    metrics = ServiceMetrics(waiting=lambda: waiting[0], gallery_size=lambda: 17)
    metrics.answered("/encode", 200, 0.004)
    metrics.answered("/encode", 200, 0.3)
    metrics.answered("/encode", 422, 0.001)
    metrics.answered("other", 404, 0.001)
    metrics.batch(5)
    metrics.batch(100)
    found = values(metrics)
    encode = ("route", "/encode")
    assert found["pairsim_requests_total", (encode, ("status", "200"))] == 2
    assert found["pairsim_requests_total", (encode, ("status", "422"))] == 1
    assert found["pairsim_requests_total", (("route", "other"), ("status", "404"))] == 1
    assert found["pairsim_request_seconds_count", (encode,)] == 3
    assert found["pairsim_request_seconds_sum", (encode,)] == pytest.approx(0.305)
    assert found["pairsim_request_seconds_bucket", (("le", "0.005"), encode)] == 2
    assert found["pairsim_batch_pictures_sum", ()] == 105
    assert found["pairsim_batch_pictures_count", ()] == 2
    assert found["pairsim_waiting_pictures", ()] == 3
    assert found["pairsim_gallery_pictures", ()] == 17
    waiting[0] = 0
    assert values(metrics)["pairsim_waiting_pictures", ()] == 0


def test_two_services_do_not_share_figures() -> None:
    one, other = (ServiceMetrics(waiting=lambda: 0, gallery_size=lambda: 0) for _ in range(2))
    one.answered("/encode", 200, 1.0)
    assert not any(name == "pairsim_requests_total" for name, _ in values(other))
