"""What a sensor is: the source that is called for it, and the settings that its triggers give it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.blocks.sensors.catalog import BUILT_IN, source_of
from headrace.domain.errors import HeadraceError
from headrace.domain.triggers import SensorWatch
from headrace.project.files import inside, read_text
from headrace.triggers.book import KnownTrigger, ServedProject
from headrace.worker.protocol import CodeRef


class SensorConflict(HeadraceError):
    """Two triggers configure one sensor in two ways."""

    code = "sensor-conflict"


@dataclass(frozen=True)
class SensorDefinition:
    """One sensor of a project; `conflict` tells why it cannot be looked for."""

    project: ServedProject
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    conflict: str = ""

    @property
    def source(self) -> str:
        """The source of its events."""
        return f"sensor:{self.name}"

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What its function gets by name."""
        configuration: Mapping[str, Any] = self.settings.get("configuration", {})
        return configuration

    def seconds(self, key: str) -> float | None:
        """A setting in seconds; None where its triggers leave it to the sensor."""
        return self.settings.get(key)

    def code(self) -> CodeRef:
        """Its source as the file is now. Raises SensorConflict, UnreadableFile."""
        if self.conflict:
            raise SensorConflict(self.conflict, remedy="Configure it in one of them, and name it alone in the others.")
        use = self.settings.get("use", f"sensors/{self.name}.py")
        if use in BUILT_IN:
            return CodeRef(self.name, f"{self.project.root}/sensors/<{use}>", source_of(use))
        path = inside(self.project.root, use)
        return CodeRef(self.name, str(path), read_text(self.project.root, path))

    def stamp(self) -> tuple[int, int] | None:
        """What tells whether its file has changed; None where it has none."""
        use = self.settings.get("use", f"sensors/{self.name}.py")
        try:
            status = (self.project.root / use).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size


def sensor_definitions(triggers: Iterable[KnownTrigger]) -> dict[tuple[int, str], SensorDefinition]:
    """The sensors that triggers listen to, by project and name; one that says only the name leaves it to the others."""
    found: dict[tuple[int, str], SensorDefinition] = {}
    owners: dict[tuple[int, str], str] = {}
    for known in sorted(triggers, key=lambda known: (known.trigger.pipeline, known.trigger.name)):
        if not isinstance(known.trigger.when, SensorWatch):
            continue
        key = (known.project.id, known.trigger.when.name)
        named = f"{known.trigger.pipeline}/{known.trigger.name}"
        found[key] = _joined(found.get(key), known, owners.get(key, ""), named)
        if known.trigger.when.settings:
            owners.setdefault(key, named)
    return found


def _joined(earlier: SensorDefinition | None, known: KnownTrigger, owner: str, named: str) -> SensorDefinition:
    watch = known.trigger.when
    assert isinstance(watch, SensorWatch)  # noqa: S101 - the caller has looked
    if earlier is not None and (not watch.settings or watch.settings == earlier.settings):
        return earlier
    if earlier is None or not earlier.settings:
        return SensorDefinition(known.project, watch.name, watch.settings)
    conflict = f"Sensor {watch.name} is configured in two ways, by the triggers {owner} and {named}."
    return SensorDefinition(earlier.project, earlier.name, earlier.settings, earlier.conflict or conflict)
