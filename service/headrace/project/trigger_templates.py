"""Checks the expressions and templates of a trigger before any event comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.blocks.templating import TemplateError, check_syntax
from headrace.domain.triggers import Trigger
from headrace.project.policies import Refuse


def check_trigger_templates(trigger: Trigger, refuse: Refuse) -> None:
    """Refuse what cannot be parsed in a trigger's filter, dedup_key and variables."""
    for key, text in _texts(trigger):
        try:
            check_syntax(text)
        except TemplateError as error:
            refuse(key, f"{key}: {error.message}", error.remedy)


def _texts(trigger: Trigger) -> Iterator[tuple[str, str]]:
    if trigger.filter is not None:
        yield "filter", f"{{{{ ({trigger.filter}) }}}}"
    if trigger.dedup_key is not None:
        yield "dedup_key", trigger.dedup_key
    for text in _leaves(trigger.variables):
        yield "variables", text


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
