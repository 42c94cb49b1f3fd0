"""Figures that are read for each fetch: sensors and backfills from the database, schedules from who follows them.

Their labels are names from the projects' files. Nothing is told for each run, event, sender or address: such series
would be without number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headrace.api.served import Served
from headrace.store.backfills import LiveBackfills
from headrace.store.runs import LateRuns
from headrace.store.sensors import SensorFigures
from headrace.triggers.watching import ScheduleStanding

_SENSOR = ("project", "sensor")
_SCHEDULE = ("project", "pipeline", "trigger")


def sensor_families(sensors: Iterable[SensorFigures]) -> Iterator[Metric]:
    """What is told of each sensor."""
    looked = _gauge("sensor_last_look_seconds", "Time since a sensor was looked for last.", *_SENSOR)
    gave = _gauge("sensor_last_event_seconds", "Time since a sensor gave its last event.", *_SENSOR)
    lag = _gauge("sensor_lag_seconds", "From when a sensor's newest event happened to its commit.", *_SENSOR)
    failures = _gauge("sensor_failures", "Looks of a sensor that failed in a row.", *_SENSOR)
    state = _gauge("sensor_state", "1 for the state in which a sensor is.", *_SENSOR, "state")
    events = CounterMetricFamily("headrace_sensor_events", "Events that a sensor gave.", labels=_SENSOR)
    for each in sensors:
        labels = (each.project, each.name)
        if each.looked_ago is not None:
            looked.add_metric(labels, each.looked_ago)
        if each.gave_ago is not None:
            gave.add_metric(labels, each.gave_ago)
        if each.lag is not None:
            lag.add_metric(labels, each.lag)
        failures.add_metric(labels, each.failures)
        state.add_metric((*labels, each.state), 1)
        events.add_metric(labels, each.delivered)
    yield from (looked, gave, lag, failures, state, events)


def schedule_families(served: Served) -> Iterator[Metric]:
    """What is told of each schedule that this service follows."""
    timekeeper, book = served.intake.timekeeper, served.intake.book
    late = _gauge("schedule_last_slot_late_seconds", "How late the last slot that was accepted here was.", *_SCHEDULE)
    overdue = _gauge("schedule_overdue_slots", "Slots that should be events by now and are none.", *_SCHEDULE)
    by = _gauge("schedule_overdue_seconds", "How long the oldest of them is overdue.", *_SCHEDULE)
    gaps = _gauge("schedule_gaps", "Slots of a schedule without a good run.", *_SCHEDULE)
    for number, standing in timekeeper.standings().items():
        known = book.by_id(number)
        if known is not None:
            labels = (served.name_of(known.project.id), known.trigger.pipeline, known.trigger.name)
            _tell_schedule(standing, labels, late, overdue, by)
            if (count := served.intake.gap_watch.gaps.get(number)) is not None:
                gaps.add_metric(labels, count)
    followed = _gauge("schedules", "Schedules that this service follows, and those that it cannot.", "state")
    followed.add_metric(["followed"], len(timekeeper.standings()))
    followed.add_metric(["refused"], len(timekeeper.refused))
    yield from (late, overdue, by, gaps, followed)


def _tell_schedule(
    standing: ScheduleStanding,
    labels: tuple[str, ...],
    late: GaugeMetricFamily,
    overdue: GaugeMetricFamily,
    by: GaugeMetricFamily,
) -> None:
    if standing.late is not None:
        late.add_metric(labels, standing.late)
    overdue.add_metric(labels, standing.overdue)
    by.add_metric(labels, standing.overdue_by)


def sla_families(late: Iterable[LateRuns]) -> Iterator[Metric]:
    """What is told of runs that should have ended by now."""
    past = _gauge(
        "runs_past_sla", "Runs that have not ended though their trigger's sla has passed.", "project", "pipeline"
    )
    for each in late:
        past.add_metric((each.project, each.pipeline), each.runs)
    yield past


def backfill_families(live: Mapping[str, LiveBackfills]) -> Iterator[Metric]:
    """What is told of backfills that have not ended."""
    backfills = _gauge("backfills", "Backfills that have not ended.", "status")
    waiting = _gauge("backfill_intervals_waiting", "Intervals of backfills whose runs are still to be made.", "status")
    for status in ("running", "paused"):
        found = live.get(status, LiveBackfills(0, 0))
        backfills.add_metric([status], found.backfills)
        waiting.add_metric([status], found.waiting)
    yield from (backfills, waiting)


def _gauge(name: str, told: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"headrace_{name}", told, labels=labels)
