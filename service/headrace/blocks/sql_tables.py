"""Tables that SQL blocks make, and those that `{{ df_1 }}`, `{{ df_2 }}`, … stand for in their queries.

An upstream SQL block's own table is read where it is. The output of any other block is first exported to
`<pipeline>_<upstream>_v1`, or to the table named in `upstream_block_configuration`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.blocks.io.names import clean_name, fitting, folded, quoted
from headrace.blocks.io.postgres import Postgres
from headrace.blocks.mentions import mentions
from headrace.blocks.sql_faults import SqlBlockFault

Inputs = Mapping[str, Sequence[Any]]
_DEFAULTS = {"data_provider": "postgres", "data_provider_profile": "default"}


def is_raw(configuration: Mapping[str, Any]) -> bool:
    """Whether a SQL block's statements run as they are, without making the block's table."""
    return bool(configuration.get("use_raw_sql") or configuration.get("disable_query_preprocessing"))


def own_table(database: Postgres, configuration: Mapping[str, Any], pipeline: str, block: str) -> tuple[str, str]:
    """Schema and name of the table that a SQL block makes."""
    return _schema(database, configuration), str(configuration.get("data_provider_table") or _named(pipeline, block))


def upstream_tables(
    database: Postgres,
    text: str,
    inputs: Inputs,
    configuration: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    made: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """The names df_1, df_2, … that the text mentions, each as its table, quoted. Raises SqlBlockFault."""
    tables: dict[str, str] = {}
    for number in sorted({number for number, _ in mentions(text)}):
        if not 1 <= number <= len(inputs):
            raise SqlBlockFault(
                f"The query mentions df_{number}, but the block has {len(inputs)} upstream blocks.",
                remedy="df_1 is the first of upstream_blocks.",
            )
        uuid, outputs = list(inputs.items())[number - 1]
        own = _made_by(database, uuid, configuration, kwargs, made.get(uuid))
        tables[f"df_{number}"] = own or _exported(database, uuid, outputs, configuration, kwargs)
    return tables


def _made_by(
    database: Postgres,
    uuid: str,
    configuration: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    made: Mapping[str, Any] | None,
) -> str | None:
    """The table that the upstream block itself made, if it is a SQL block on the same database that makes one."""
    if made is None or is_raw(made) or any(_asked(made, key) != _asked(configuration, key) for key in _DEFAULTS):
        return None
    schema, table = own_table(database, made, kwargs["pipeline_uuid"], uuid)
    return quoted(folded(schema), folded(table)) if database.table_exists(schema, table) else None


def _asked(configuration: Mapping[str, Any], key: str) -> str:
    return str(configuration.get(key) or _DEFAULTS[key])


def _exported(
    database: Postgres, uuid: str, outputs: Sequence[Any], configuration: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> str:
    if not outputs:
        raise SqlBlockFault(
            f"The upstream block {uuid} has no output to query.", remedy=f"Return a DataFrame from {uuid}."
        )
    asked = (configuration.get("upstream_block_configuration") or {}).get(uuid) or {}
    *before, table = str(asked.get("table_name") or _named(kwargs["pipeline_uuid"], uuid)).split(".")
    schema = before[-1] if before else _schema(database, configuration)
    value = outputs[0] if len(outputs) == 1 else list(outputs)
    database.export(value, schema, table, if_exists="replace", verbose=False)
    return quoted(folded(schema), folded(table))


def _named(pipeline: str, block: str) -> str:
    return fitting(clean_name(f"{pipeline}_{block}_v1", allow_reserved=True))


def _schema(database: Postgres, configuration: Mapping[str, Any]) -> str:
    return str(configuration.get("data_provider_schema") or database.default_schema())
