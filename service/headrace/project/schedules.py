"""Reads the keys of a trigger that say when it is due, Mage's and ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from enum import StrEnum
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headrace.domain.expressions import WORD_CRON, days_off_of, interval_of, word_of
from headrace.domain.schedules import CatchUp, Fold, Gap, Schedule
from headrace.project.cron import BadCron, read_cron
from headrace.project.policies import Refuse, is_count, is_number

MOST_CAUGHT_UP = 10_000
LONGEST_SPREAD = 7 * 86_400.0
_YEARS = (1970, 2200)
_EXPRESSIONS = "Write @daily or another of Mage's words, a cron expression, or `every 15 minutes`."
_EXCLUSIONS = "Write a day (2026-12-25 or 12-25), days (12-24/01-02), or minutes as cron (* 22-23 * * *)."
Policy = TypeVar("Policy", bound=StrEnum)


def schedule_of(values: Mapping[str, Any], refuse: Refuse) -> Schedule | None:
    """The schedule of a trigger's values, those under `settings` among them; None where its expressions are refused."""
    return _Keys(values, refuse).schedule()


@dataclass(frozen=True)
class _Keys:
    """One trigger's keys while they are read."""

    values: Mapping[str, Any]
    refuse: Refuse

    def schedule(self) -> Schedule | None:
        expressions = self._expressions()
        if not expressions:
            return None
        zone = self._zone()
        start, end = self._moment("start_time", zone), self._moment("end_time", zone)
        if start is not None and end is not None and end < start:
            self.refuse("end_time", "end_time is before start_time.", "Write one after it.")
        landing_time = self._is_set("landing_time_enabled") and all(word_of(text) in WORD_CRON for text in expressions)
        jitter = self._seconds("jitter", self.values.get("jitter"))
        if jitter and landing_time:
            self.refuse("jitter", "jitter cannot be together with landing_time_enabled.", "Remove one of them.")
        policy, most, pace = self._catch_up()
        return Schedule(
            expressions=expressions,
            timezone=zone,
            gap=self._one_of("dst_gap", self.values.get("dst_gap"), Gap.SHIFT),
            fold=self._fold(),
            jitter=jitter,
            start=start,
            end=end,
            exclusions=self._exclusions(),
            catch_up=policy,
            most_caught_up=most,
            catch_up_pace=pace,
            landing_time=landing_time,
            create_initial_run=self._is_set("create_initial_pipeline_run"),
            enabled_at=self._moment("last_enabled_at", "UTC"),
        )

    def _expressions(self) -> tuple[str, ...]:
        given = _listed(self.values.get("schedule_interval"))
        texts = [text.strip() for text in given if isinstance(text, str) and text.strip()]
        if len(texts) < len(given) or not texts:
            told = f"schedule_interval cannot be {self.values.get('schedule_interval')!r}."
            self.refuse("schedule_interval", told, _EXPRESSIONS)
            return ()
        return tuple(dict.fromkeys(text for text in texts if self._is_expression(text)))

    def _is_expression(self, text: str) -> bool:
        if word_of(text) is not None or interval_of(text) is not None:
            return True
        if text.startswith("@") or text.lower().startswith("every"):
            self.refuse("schedule_interval", f"schedule_interval cannot be {text!r}.", _EXPRESSIONS)
            return False
        try:
            read_cron(text)
        except BadCron as error:
            self.refuse("schedule_interval", error.message, error.remedy)
            return False
        return True

    def _zone(self) -> str:
        given = self.values.get("timezone")
        if given is None:
            return "UTC"
        try:
            return ZoneInfo(given).key
        except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError):
            told = f"timezone {given!r} is not known."
            self.refuse("timezone", told, "Write a name of the IANA's list, such as Europe/Berlin.")
            return "UTC"

    def _moment(self, key: str, zone: str) -> datetime | None:
        given = self.values.get(key)
        if given is None:
            return None
        try:
            return _moment(given, ZoneInfo(zone))
        except ValueError:
            self.refuse(key, f"{key} cannot be {given!r}.", "Write a time such as 2026-05-06 12:30:00.")
            return None

    def _exclusions(self) -> tuple[str, ...]:
        texts = [item.isoformat() if type(item) is date else item for item in _listed(self.values.get("exclude"))]
        return tuple(text for text in texts if self._is_exclusion(text))

    def _is_exclusion(self, text: Any) -> bool:
        if not isinstance(text, str) or (days_off_of(text) is None and len(text.split()) != 5):
            self.refuse("exclude", f"exclude cannot be {text!r}.", _EXCLUSIONS)
            return False
        try:
            return days_off_of(text) is not None or bool(read_cron(text))
        except BadCron as error:
            self.refuse("exclude", error.message, error.remedy)
            return False

    def _catch_up(self) -> tuple[CatchUp, int, float]:
        given = self.values.get("catch_up")
        keys: Mapping[str, Any] = given if isinstance(given, dict) else {"policy": given}
        policy = self._one_of("catch_up", keys.get("policy"), CatchUp.LATEST)
        most: Any = keys.get("most", 100)
        if not is_count(most, least=1) or most > MOST_CAUGHT_UP:
            told = f"catch_up: most cannot be {most!r}."
            self.refuse("catch_up", told, f"Write a whole number from 1 to {MOST_CAUGHT_UP}.")
            most = 100
        return policy, most, self._seconds("catch_up", keys.get("pace"), "catch_up: pace")

    def _fold(self) -> Fold | None:
        given = self.values.get("dst_fold")
        return None if given is None else self._one_of("dst_fold", given, Fold.FIRST)

    def _one_of(self, key: str, given: Any, default: Policy) -> Policy:
        kind = type(default)
        if given is None:
            return default
        if isinstance(given, str) and given in set(kind):
            return kind(given)
        self.refuse(key, f"{key} cannot be {given!r}.", f"Write one of: {', '.join(kind)}.")
        return default

    def _seconds(self, key: str, given: Any, told: str = "") -> float:
        if given is None:
            return 0.0
        if is_number(given) and 0 <= given <= LONGEST_SPREAD:
            return float(given)
        self.refuse(key, f"{told or key} cannot be {given!r}.", "Write seconds from 0, at most those of a week.")
        return 0.0

    def _is_set(self, key: str) -> bool:
        given = self.values.get(key)
        if given is None or isinstance(given, bool):
            return bool(given)
        self.refuse(key, f"{key} cannot be {given!r}.", "Write true or false.")
        return False


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def _moment(given: Any, zone: tzinfo) -> datetime:
    """A time in UTC; one without a zone of its own is meant in `zone`. Raises ValueError."""
    if isinstance(given, str):
        given = datetime.fromisoformat(given.strip())
    elif type(given) is date:
        given = datetime.combine(given, time())
    if not isinstance(given, datetime) or not _YEARS[0] <= given.year <= _YEARS[1]:
        raise ValueError(given)
    return (given if given.tzinfo is not None else given.replace(tzinfo=zone)).astimezone(UTC)
