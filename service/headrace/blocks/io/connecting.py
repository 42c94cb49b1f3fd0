"""How a connection to Postgres is made from settings, and how a failure is told (never with the password)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.config import ConfigKey
from headrace.blocks.io.times import read_date, read_span, send_date, send_span


class ConnectionRefused(ConnectorFault):
    """Postgres could not be reached, or did not let us in."""

    code = "connection-refused"


@dataclass(frozen=True)
class Address:
    """Where a database is and as whom to enter. A `host` that begins with / is a folder with a Unix socket."""

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    schema: str = "public"
    timeout: float = 10.0

    def __str__(self) -> str:
        return f"database {self.database} on {self.host}:{self.port} as {self.user}"


READ = frozenset(
    f"POSTGRES_{part}"
    for part in ("CONNECTION_METHOD", "HOST", "PORT", "DBNAME", "USER", "PASSWORD", "SCHEMA", "CONNECT_TIMEOUT")
)
"""The settings of a profile that `address_from` reads."""


def address_from(config: Any) -> Address:
    """The address in the settings of a profile. Raises ConnectorFault where it must be told and is not."""
    method = str(config.get(ConfigKey.POSTGRES_CONNECTION_METHOD) or "direct")
    if method != "direct":
        raise ConnectorFault(
            f"POSTGRES_CONNECTION_METHOD {method} is not supported.",
            remedy="Open the tunnel outside and point POSTGRES_HOST and POSTGRES_PORT at it.",
        )
    return Address(
        host=str(_needed(config, ConfigKey.POSTGRES_HOST)),
        port=_port(config.get(ConfigKey.POSTGRES_PORT)),
        database=str(_needed(config, ConfigKey.POSTGRES_DBNAME)),
        user=str(_needed(config, ConfigKey.POSTGRES_USER)),
        password=_text(config.get(ConfigKey.POSTGRES_PASSWORD)),
        schema=_text(config.get(ConfigKey.POSTGRES_SCHEMA)) or "public",
        timeout=float(config.get(ConfigKey.POSTGRES_CONNECT_TIMEOUT) or 10),
    )


def _needed(config: Any, key: ConfigKey) -> Any:
    value = config.get(key)
    if value in (None, ""):
        raise ConnectorFault(f"{config} has no {key}.", remedy=f"Set {key} there.")
    return value


def _port(value: Any) -> int:
    try:
        return int(value or 5432)
    except ValueError:
        raise ConnectorFault(f"POSTGRES_PORT {value!r} is not a number.") from None


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


async def connect(address: Address, settings: Mapping[str, str]) -> Any:
    """A connection with UTC as its time zone and JSON as Python values. Raises ConnectionRefused."""
    try:
        connection = await asyncpg.connect(
            host=address.host,
            port=address.port,
            database=address.database,
            user=address.user,
            password=address.password,
            timeout=address.timeout,
            server_settings={"timezone": "UTC", "application_name": "headrace block", **settings},
            command_timeout=None,
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        told = str(error) or f"no answer within {address.timeout:g} s"
        raise ConnectionRefused(
            f"No connection to {address}: {told}.",
            remedy="Check the POSTGRES_ settings of the profile, and that the server runs and can be reached.",
        ) from None
    with suppress(asyncpg.PostgresError):  # some platforms have no way to look
        # A query must not outlive a block that was killed: it may hold locks that the next attempt needs.
        await connection.execute("SET client_connection_check_interval = '2s'")
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    for kind, encoder, decoder in (("date", send_date, read_date), ("interval", send_span, read_span)):
        await connection.set_type_codec(kind, encoder=encoder, decoder=decoder, schema="pg_catalog", format="tuple")
    return connection
