"""Checks a SQL block without running it: its configuration, its template, its statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.blocks.block_output import without_calls
from headrace.blocks.mentions import mentions
from headrace.blocks.sql_faults import SqlBlockFault
from headrace.blocks.templating import TemplateError, check_syntax
from headrace.domain.pipeline import Block
from headrace.project.blocks import Entry
from headrace.project.building import Reading
from headrace.project.faults import Fault
from headrace.project.sources import ProfileUse

PROVIDERS = ("postgres", "postgresql")
POLICIES = ("append", "fail", "replace")
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def check_sql(reading: Reading, block: Block, entry: Entry) -> tuple[list[Fault], list[ProfileUse]]:
    """The faults of a SQL block, and the profile that it uses."""
    check = _Check(reading, block, entry)
    profile = str(block.configuration.get("data_provider_profile") or "default")
    return [*check.configuration(), *check.source()], [ProfileUse(profile, reading.file, check.line(_PROFILE))]


_PROFILE = "data_provider_profile"


@dataclass(frozen=True)
class _Check:
    """One SQL block while it is checked."""

    reading: Reading
    block: Block
    entry: Entry

    def line(self, key: str) -> int | None:
        return self.reading.document.line(*self.entry.place("configuration", key))

    def configuration(self) -> Iterator[Fault]:
        given, uuid = self.block.configuration, self.block.uuid
        provider = str(given.get("data_provider") or "postgres")
        if provider.lower() not in PROVIDERS:
            told = f"SQL block {uuid} asks for the provider {provider}, which Headrace has not."
            yield self._of("data_provider", told, "Write `data_provider: postgres`, or reach it from a Python block.")
        policy = str(given.get("export_write_policy") or "append")
        if policy not in POLICIES and not self._is_raw():
            told = f"SQL block {uuid} has the export_write_policy {policy}, which is unknown."
            yield self._of("export_write_policy", told, f"Policies: {', '.join(POLICIES)}.")
        limit = given.get("limit_in_pipeline_run")
        if not str(limit or 0).isdecimal():
            told = f"SQL block {uuid} has the limit_in_pipeline_run {limit}, which is no number of rows."
            yield self._of("limit_in_pipeline_run", told, "Write a whole number.")

    def source(self) -> Iterator[Fault]:
        if self.block.source is None:
            return
        text = self.block.source.text
        given = len(self.block.upstream)
        for number, line in mentions(text):
            if not 1 <= number <= given:
                told = f"The query mentions df_{number}, but the block has {given} upstream blocks."
                yield self._at(line, f"df_{number}", told, "df_1 is the first of upstream_blocks.")
                return
        try:
            plain = without_calls(text)
            check_syntax(plain)
        except (SqlBlockFault, TemplateError) as error:
            yield self._at(error.line, "", error.message, error.remedy)
            return
        if "{%" not in plain and not self.block.configuration.get("disable_query_preprocessing"):
            yield from self._statements(_COMMENT.sub(_lines, _EXPRESSION.sub(_word, plain)))

    def _statements(self, text: str) -> Iterator[Fault]:
        from headrace.blocks.statements import BadSql, split_statements

        try:
            statements = split_statements(text)
        except BadSql as error:
            yield self._at(error.line, "", error.message, error.remedy)
            return
        if not statements:
            yield self._at(1, "", f"The SQL block {self.block.uuid} has no statement.", "Write a query in it.")
        elif len(statements) > 1 and not self._is_raw():
            told = f"The SQL block {self.block.uuid} has {len(statements)} statements; this is the second."
            yield self._at(statements[1].line, "", told, "Keep one query, or set use_raw_sql: true.")

    def _is_raw(self) -> bool:
        given = self.block.configuration
        return bool(given.get("use_raw_sql") or given.get("disable_query_preprocessing"))

    def _of(self, key: str, message: str, remedy: str) -> Fault:
        return Fault(self.reading.file, self.line(key), key, message, remedy)

    def _at(self, line: int | None, key: str, message: str, remedy: str) -> Fault:
        file = self.reading.file if self.block.source is None else self.block.source.path
        return Fault(file, line, key, message, remedy)


def _lines(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def _word(found: re.Match[str]) -> str:
    """A name in place of what a template would put there."""
    return "x" + _lines(found)
