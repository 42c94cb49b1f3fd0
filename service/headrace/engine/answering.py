"""Answers what the code of blocks and sensors asks the service: how other runs stand, where a sensor left off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace.engine.worker_connection import NoAnswer
from headrace.store.block_cursors import SensorBlock, block_cursor, keep_block_cursor
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY, DatabaseUnavailable
from headrace.store.run_status import completed_runs, run_near


@dataclass(frozen=True)
class RunAnswers:
    """Answers from the database of runs."""

    database: Database

    async def answer(self, project_id: int, question: str, content: Mapping[str, Any]) -> Any:
        """The answer as JSON values. Raises NoAnswer for what is no question of these, DatabaseUnavailable."""
        try:
            match question:
                case "run_status":
                    return await self._run_status(project_id, content)
                case "completed_runs":
                    return await self._completed_runs(project_id, content)
                case "block_cursor":
                    return await block_cursor(self.database, _sensor_of(project_id, content))
                case "keep_block_cursor":
                    sensor, has_seen = _sensor_of(project_id, content), content["has_seen"]
                    return await keep_block_cursor(self.database, sensor, content["cursor"], has_seen=has_seen)
        except DATABASE_AWAY as error:
            raise DatabaseUnavailable(f"The database of runs is away: {error}.", remedy="Look again later.") from error
        raise NoAnswer(f"The service has no answer for {question!r}.")

    async def _run_status(self, project_id: int, content: Mapping[str, Any]) -> Any:
        date = _time(content["execution_date"])
        found = await run_near(
            self.database, project_id, content["pipeline"], date, content["hours"] * 3600.0, content["block"]
        )
        return None if found is None else {"run": found.run, "status": found.status}

    async def _completed_runs(self, project_id: int, content: Mapping[str, Any]) -> Any:
        since = None if content["since"] is None else _time(content["since"])
        runs = await completed_runs(self.database, project_id, content["pipeline"], since)
        return [
            {
                "run": run.run,
                "execution_date": run.execution_date.isoformat(),
                "finished_at": run.finished_at.isoformat(),
            }
            for run in runs
        ]


def _sensor_of(project_id: int, content: Mapping[str, Any]) -> SensorBlock:
    return SensorBlock(project_id, content["pipeline"], content["block"], content["run"])


def _time(text: str) -> datetime:
    """A time; one without a zone is UTC, as Mage's are."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
