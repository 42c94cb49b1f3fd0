"""Which tables of Postgres a run's blocks wrote: what connectors said in its log, and what SQL blocks are told to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headrace.domain.pipeline import Block, BlockLanguage
from headrace.engine.reading import pinned_pipeline, run_row
from headrace.engine.views import TableView
from headrace.project.sources import check_source
from headrace.store.database import Database
from headrace.store.queries import QUERIES

_EXPORTED = re.compile(r"Exporting data to (?:table )?'?([^'/]+?)'?\.\.\.DONE$")
"""How the Postgres connector tells of an export, as in Mage."""


async def written_tables(database: Database, run: int) -> list[TableView]:
    """The tables that the blocks of a run wrote, each once, in the order of its pipeline's file. Raises UnknownRun."""
    pipeline = await pinned_pipeline(database, (await run_row(database, run))["version"])
    speaking = [block.uuid for block in pipeline.blocks if "export(" in _source(block)]
    said: dict[str, list[str]] = {}
    for row in await database.fetch(QUERIES["export_lines"], run, speaking) if speaking else ():
        said.setdefault(row["block"], []).append(row["text"])
    rows = {row["block"]: row for row in await database.fetch(QUERIES["block_runs"], run)}
    done = [block for block in pipeline.blocks if block.uuid in rows and rows[block.uuid]["status"] == "completed"]
    found = [view for block in done for view in _tables(block, said.get(block.uuid, []))]
    return list({view.table: view for view in found}.values())


def _source(block: Block) -> str:
    return "" if block.source is None else block.source.text


def _tables(block: Block, said: list[str]) -> Iterator[TableView]:
    if block.language is BlockLanguage.SQL:
        yield from _configured(block)
        return
    profile = _profile(block) if said else None
    for text in said:
        if match := _EXPORTED.search(text):
            yield TableView(block.uuid, match[1], profile)


def _configured(block: Block) -> Iterator[TableView]:
    settings = block.configuration
    if settings.get("data_provider_table") and not settings.get("use_raw_sql"):
        schema = settings.get("data_provider_schema")
        table = str(settings["data_provider_table"])
        profile = settings.get("data_provider_profile")
        yield TableView(block.uuid, f"{schema}.{table}" if schema else table, str(profile) if profile else None)


def _profile(block: Block) -> str | None:
    """The one profile that a block's source names; None where it names none, or several."""
    named = {use.profile for use in check_source(block)[1]}
    return named.pop() if len(named) == 1 else None
