"""A trigger's sensor: what may be said of it, and where a fault is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from headrace.domain.triggers import SensorWatch
from headrace.project.faults import Severity
from headrace.project.triggers import TriggerReading, read_triggers

from tests.support.projects import write_pipeline, write_project


def reading_of(root: Path, sensor: Any) -> TriggerReading:
    write_project(root)
    folder = write_pipeline(root, "orders", {"load": []})
    trigger = {"name": "news", "schedule_type": "sensor", "status": "active", "sensor": sensor}
    (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": [trigger]}, sort_keys=False))
    return read_triggers(root, "orders", {})


@pytest.mark.parametrize(
    ("sensor", "watch"),
    [
        ("counting", SensorWatch("counting", {})),
        ({"name": "counting"}, SensorWatch("counting", {})),
        ({"name": "c", "interval": 5, "deadline": 2.5}, SensorWatch("c", {"interval": 5.0, "deadline": 2.5})),
        ({"name": "c", "use": "sensors/x.py"}, SensorWatch("c", {"use": "sensors/x.py"})),
        (
            {"use": "redis_stream", "configuration": {"stream": "s", "batch": 5}},
            SensorWatch("orders/news", {"use": "redis_stream", "configuration": {"stream": "s", "batch": 5}}),
        ),
        (
            {"use": "file_arrival", "configuration": {"path": "{{ env_var('INBOX') }}", "stable": None}},
            SensorWatch(
                "orders/news",
                {"use": "file_arrival", "configuration": {"path": "{{ env_var('INBOX') }}", "stable": None}},
            ),
        ),
    ],
)
def test_a_sensor_is_read_with_its_settings(tmp_path: Path, sensor: Any, watch: SensorWatch) -> None:
    for name in ("counting", "c", "x"):
        (tmp_path / "sensors").mkdir(exist_ok=True)
        (tmp_path / "sensors" / f"{name}.py").touch()
    reading = reading_of(tmp_path, sensor)
    assert reading.faults == ()
    assert reading.triggers[0].when == watch
    assert reading.triggers[0].source == f"sensor:{watch.name}"


@pytest.mark.parametrize("sensor", ["nosuch", {"name": "n", "use": "sensors/nosuch.py"}])
def test_a_sensor_that_is_not_there_is_warned_of_and_may_come_later(tmp_path: Path, sensor: Any) -> None:
    reading = reading_of(tmp_path, sensor)
    (fault,) = reading.faults
    assert (fault.line, fault.key, fault.severity) == (5, "sensor", Severity.WARNING)
    assert "there is no sensors/nosuch.py" in fault.message
    assert len(reading.triggers) == 1


@pytest.mark.parametrize(
    ("sensor", "line", "key", "told"),
    [
        (None, 5, "sensor", "names no sensor"),
        ({"interval": 5}, 5, "sensor", "names no sensor"),
        ({"name": "c", "interval": 0}, 7, "interval", "interval cannot be 0"),
        ({"name": "c", "deadline": "soon"}, 7, "deadline", "deadline cannot be 'soon'"),
        ({"name": "c", "stream": "s"}, 7, "stream", "goes under configuration"),
        ({"use": "redis"}, 6, "use", "redis_stream"),
        ({"name": "c", "configuration": ["a"]}, 7, "configuration", "not a mapping"),
        ({"use": "redis_stream"}, 5, "configuration", "needs stream"),
        ({"use": "redis_stream", "configuration": {"streem": "s"}}, 8, "streem", "takes no streem"),
        ({"use": "redis_stream", "configuration": {"stream": 5}}, 8, "stream", "Write a text"),
        ({"use": "redis_stream", "configuration": {"stream": "s", "batch": True}}, 9, "batch", "Write a whole number"),
        ({"use": "http_poll", "configuration": {"url": "u", "timeout": "x"}}, 9, "timeout", "Write a number"),
        ({"use": "http_poll", "configuration": {"url": "u", "public_only": 1}}, 9, "public_only", "true or false"),
    ],
)
def test_a_fault_is_told_at_its_line_and_key(tmp_path: Path, sensor: Any, line: int, key: str, told: str) -> None:
    reading = reading_of(tmp_path, sensor)
    assert reading.triggers == ()
    fault = next(fault for fault in reading.faults if fault.key == key)
    assert (fault.file, fault.line) == ("pipelines/orders/triggers.yaml", line)
    assert told in f"{fault.message} {fault.remedy}"
