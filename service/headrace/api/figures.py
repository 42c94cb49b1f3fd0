"""The figures of a service: counted and timed where things happen, for Prometheus to fetch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from headrace.engine.loop_lag import LoopLag
from headrace.engine.observing import Observer
from headrace.triggers.observing import IntakeObserver

disable_created_metrics()  # type: ignore[no-untyped-call]
"""When a series began is of no use to anybody here, and one more series for each."""

SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LONG = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
"""Bounds of histograms, in seconds."""


class ReadFigures(Collector):
    """Figures that are read anew for each fetch: what is no more has none, too."""

    def __init__(self) -> None:
        self.families: Sequence[Metric] = ()

    def collect(self) -> Iterable[Metric]:
        return self.families


class Figures(Observer, IntakeObserver):
    """The figures of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.read = ReadFigures()
        self.registry.register(self.read)
        self.runs = self._gauge("runs", "Runs that have not ended.", "status")
        self.oldest = self._gauge("oldest_run_seconds", "Age of the oldest run that has not ended.", "status")
        self.runs_ended = Counter(
            "headrace_runs_ended", "Runs that ended here.", ["pipeline", "status"], registry=self.registry
        )
        self.block_seconds = self._histogram(
            "block_seconds", "Duration of attempts of blocks.", "pipeline", "outcome", buckets=LONG
        )
        self.accept_seconds = self._histogram("event_accept_seconds", "From an event to its commit.", "kind")
        self.slot_late = self._histogram(
            "slot_late_seconds", "From when a slot's run was to start to the slot's commit.", buckets=LONG
        )
        self.requests = self._histogram("http_request_seconds", "Duration of requests.", "route", "status")
        self.loop_lag = self._histogram("loop_lag_seconds", "Lag of the event loop.")
        self.connections = self._gauge("database_connections", "Connections to the database.", "state")
        self.up = self._gauge("database_up", "Whether the database answered just now.")
        self.streams = self._gauge("live_streams", "Live streams that are open.")
        self.lag = LoopLag(self.loop_lag.observe)

    def attempt_ended(self, pipeline: str, outcome: str, seconds: float) -> None:
        self.block_seconds.labels(pipeline, outcome).observe(seconds)

    def run_ended(self, pipeline: str, status: str) -> None:
        self.runs_ended.labels(pipeline, status).inc()

    def event_accepted(self, source: str, seconds: float) -> None:
        self.accept_seconds.labels(source.partition(":")[0]).observe(seconds)

    def slot_accepted(self, seconds: float) -> None:
        self.slot_late.observe(seconds)

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(f"headrace_{name}", told, labels, registry=self.registry)

    def _histogram(self, name: str, told: str, *labels: str, buckets: tuple[float, ...] = SHORT) -> Histogram:
        return Histogram(f"headrace_{name}", told, labels, buckets=buckets, registry=self.registry)
