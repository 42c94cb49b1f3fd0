"""How several services share out the sensors of a project: what one of them may take, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Standing:
    """How the sensors of a project stand for one service: how many there are, how many nobody looks for."""

    sensors: int
    free: int
    held: Mapping[int, int]
    """Those of the service, and the fencing token that counts for each."""
    services: frozenset[UUID]
    """All that look for sensors of the project, itself among them."""

    @property
    def share(self) -> int:
        """The most that each service takes; all there are fit into the shares of all."""
        return -(-self.sensors // max(len(self.services), 1))


@dataclass
class Sharing:
    """Decides for one service and one project.

    What others leave over for `patience` seconds is taken beyond the share: they may be stuck, or not know these. Only
    when a service joins is anything given back, so that what nobody else wants is not handed to and fro.
    """

    patience: float
    _services: frozenset[UUID] | None = None
    _left_over_since: float | None = field(default=None)

    def beyond(self, standing: Standing) -> int:
        """How many are to be given back; told once for each service that joins."""
        joined = standing.services - (standing.services if self._services is None else self._services)
        self._services = standing.services
        return max(len(standing.held) - standing.share, 0) if joined else 0

    def room(self, standing: Standing, now: float) -> int:
        """How many free ones may be taken at a moment, in seconds that only ever grow."""
        room = max(standing.share - len(standing.held), 0)
        if room >= standing.free:
            self._left_over_since = None
            return standing.free
        if self._left_over_since is None:
            self._left_over_since = now
        return standing.free if now - self._left_over_since > self.patience else room
