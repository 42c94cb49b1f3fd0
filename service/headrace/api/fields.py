"""The kinds of fields that requests are made of, bounded so that whatever passes can be stored and looked up."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

MOST = 2**63 - 1
"""The largest id that Postgres can hold."""

Id = Annotated[int, Field(ge=1, le=MOST, description="A number that the service gave.")]
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]
"""Text that Postgres can store."""
Moment = AwareDatetime
Variables = Annotated[dict[Text, JsonValue], Field(max_length=1000)]


class Given(BaseModel):
    """The base of all that requests carry: nothing beyond its fields is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)
