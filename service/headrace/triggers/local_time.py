"""Local times in a zone whose clocks change: which moments they are, and what policies make of that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from headrace.domain.schedules import Fold, Gap

_UTC_NAMES = frozenset({"UTC", "Etc/UTC"})
_AROUND = timedelta(hours=26)
"""No zone's clocks are changed twice within so long, nor by so much."""


class Mark(StrEnum):
    """How a slot's local time stands to the changes of its zone's clocks."""

    PLAIN = "plain"
    """The clocks show it once."""
    GAP = "gap"
    """The clocks skip it."""
    FIRST = "first"
    """The clocks show it twice; this is the first time."""
    SECOND = "second"
    """The clocks show it twice; this is the second time."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One due time of a schedule."""

    at: datetime
    """The moment, in UTC."""
    wall: datetime
    """The local time that it stands for, without a zone; in a gap it is one that no clock shows."""
    mark: Mark
    key: str
    """Names it within its schedule: the same whatever the zone's rules turn out to be."""
    left_out: bool = False
    """A policy keeps it from being due."""


class LocalTime:
    """The local time of a zone. Raises ZoneInfoNotFoundError or ValueError for a zone that is not known."""

    def __init__(self, zone: str, gap: Gap) -> None:
        self.name, self.gap = zone, gap
        self.zone = ZoneInfo(zone)
        self._is_utc = zone in _UTC_NAMES

    def wall(self, moment: datetime) -> datetime:
        """What the clocks show at a moment."""
        return moment.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def slot_at(self, moment: datetime, key: str | None = None) -> Slot:
        """The slot of something that is due at a moment whatever the clocks show then."""
        at = moment.astimezone(UTC)
        return Slot(at, self.wall(at), Mark.PLAIN, key or f"{_told(at)}Z")

    def slots(self, wall: datetime, fold: Fold) -> tuple[Slot, ...]:
        """The slots of a local time, in order; in a gap or fold with those that the policies leave out."""
        if self._is_utc:
            return (Slot(wall.replace(tzinfo=UTC), wall, Mark.PLAIN, f"{_told(wall)}Z"),)
        first, second = self._moments(wall)
        key = f"{_told(wall)}[{self.name}]"
        if first == second:
            return (Slot(first, wall, Mark.PLAIN, key),)
        if first > second:
            return (Slot(first, wall, Mark.GAP, key, left_out=self.gap is Gap.SKIP),)
        return (
            Slot(first, wall, Mark.FIRST, key, left_out=fold is Fold.SECOND),
            Slot(second, wall, Mark.SECOND, f"{key}#2", left_out=fold is Fold.FIRST),
        )

    def bound(self, wall: datetime) -> datetime:
        """A moment before which no slot of this local time, or of a later one, lies."""
        return wall.replace(tzinfo=UTC) if self._is_utc else min(self._moments(wall))

    def earliest(self, moment: datetime) -> datetime:
        """The local time after which all slots after a moment have theirs.

        It is what the clocks show then, except while the hour that a change repeats is shown first, or the hour after a
        gap, into which skipped times are shifted: then it is earlier by as much as the clocks change.
        """
        here = self._offset(moment)
        before, behind = self._offset(moment - _AROUND), self._offset(moment + _AROUND)
        least = here
        if before < here and self._offset(moment - (here - before)) == before:
            least = before
        if behind < here and self._offset(moment + (here - behind)) == behind:
            least = min(least, behind)
        return _bare(moment) + least

    def latest(self, moment: datetime) -> datetime:
        """The local time up to which all slots up to a moment have theirs."""
        return _bare(moment) + max(self._offset(moment), self._offset(moment - _AROUND))

    def _moments(self, wall: datetime) -> tuple[datetime, datetime]:
        first = wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        return first, wall.replace(tzinfo=self.zone, fold=1).astimezone(UTC)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self.zone).utcoffset() or timedelta(0)


def _bare(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _told(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat()
