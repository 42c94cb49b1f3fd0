"""Reads the keys of a trigger that say which requests it listens to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.domain.triggers import Webhook
from headrace.project.policies import Refuse


def webhook_of(value: Any, environ: Mapping[str, str], refuse: Refuse) -> Webhook | None:
    """The webhook that a trigger's `webhook` tells; a bare text is its path. None where it is refused."""
    given = {"path": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not str(given.get("path") or "").strip("/"):
        refuse("webhook", "it has no path.", "Write `webhook:` and under it `path: orders/new`.")
        return None
    settings = {key: item for key, item in given.items() if key != "path"}
    return Webhook(str(given["path"]).strip("/"), settings)
