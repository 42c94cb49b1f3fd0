"""What Postgres' catalog tells about a table, and the fault of a table that is not as an export needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.blocks.io.base import ConnectorFault


class TableFault(ConnectorFault):
    """A table is not as the export needs it."""

    code = "table-unfit"


async def column_types(connection: Any, schema: str, table: str) -> dict[str, str]:
    """The columns of a table and their types as SQL writes them."""
    rows = await connection.fetch(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        schema,
        table,
    )
    return {row[0]: row[1] for row in rows}


async def grants(connection: Any, schema: str, table: str, to: str) -> list[str]:
    """The statements that give others the rights on `to`, a quoted name, that they have on a table."""
    rows = await connection.fetch(
        "SELECT format('GRANT %s ON TABLE %s TO %s%s', a.privilege_type, $3::text,"
        " CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,"
        " CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a"
        " WHERE n.nspname = $1 AND c.relname = $2 AND a.grantee <> c.relowner AND a.grantor = c.relowner",
        schema,
        table,
        to,
    )
    return [row[0] for row in rows]


def refuse_missing(missing: Sequence[str], schema: str, table: str) -> None:
    """Raise TableFault where there are columns that the table lacks."""
    if missing:
        raise TableFault(
            f"The table {schema}.{table} has no column {', '.join(missing)}.",
            remedy="Add the columns to the table, leave them out of the export, or use if_exists='replace'.",
        )
