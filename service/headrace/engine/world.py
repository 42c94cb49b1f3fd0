"""What the engine takes from outside of itself: time, chance and processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from headrace.engine.clock import Clock, SystemClock
from headrace.engine.worker_template import Spawn, spawn


@dataclass(frozen=True)
class World:
    """The world as it is; a simulator hands in another."""

    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=Random)
    spawn: Spawn = spawn
