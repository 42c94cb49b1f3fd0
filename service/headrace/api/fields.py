"""The kinds of fields that requests are made of, bounded so that whatever passes can be stored and looked up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

MOST = 2**63 - 1
"""The largest id that Postgres can hold."""

Id = Annotated[int, Field(ge=1, le=MOST, description="A number that the service gave.")]
_STORABLE = r"^[^\x00]+$"
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=_STORABLE)]
"""Text that Postgres can store."""
_NAMES = {"propertyNames": {"minLength": 1, "maxLength": 500, "pattern": _STORABLE}}
"""What the schema of a mapping leaves out of its keys' own."""


def _in_utc(moment: datetime) -> datetime:
    """A moment in UTC, in which it is meant where it tells no offset. Raises ValueError beyond the calendar."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("it lies beyond the years 1 to 9999") from None


Moment = Annotated[datetime, AfterValidator(_in_utc)]
Named = Annotated[dict[Text, JsonValue], Field(json_schema_extra={**_NAMES})]
"""Values by name."""
Variables = Annotated[dict[Text, JsonValue], Field(max_length=1000, json_schema_extra={**_NAMES})]


class Given(BaseModel):
    """The base of all that requests carry: nothing beyond its fields is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)
