"""Names of tables and columns: how they are cleaned as in Mage, and the one place where an identifier is quoted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

LONGEST = 63
"""Bytes of an identifier in Postgres; it cuts longer ones off without a word."""

_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true type
    union unique user using variadic verbose when where window with"""
RESERVED = frozenset(_WORDS.split())
"""Words that a cleaned column name gets a leading underscore for: those that Postgres reserves, and `type`."""
_DROPPED = str.maketrans("", "", '\ufeff"$\n\r\t')


def quoted(*parts: str) -> str:
    """An identifier, or one path of them, as SQL writes it exactly."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def listed(names: Sequence[str]) -> str:
    """Several identifiers with commas between them."""
    return ", ".join(quoted(name) for name in names)


def folded(name: str) -> str:
    """A name as SQL understands it without quotes: lower-case, unless it can only be written with quotes."""
    return name.lower() if re.fullmatch(r"[^\W\d][\w$]*", name) else name


def clean_name(name: str, *, allow_reserved: bool = False, case_sensitive: bool = False) -> str:
    """A name of letters, digits and underscores, lower-case unless `case_sensitive`; a leading digit gets `letter_`.

    Quotes, `$` and line breaks go; every other sign becomes an underscore; a reserved word gets one in front.
    """
    text = re.sub(r"\W", "_", name.translate(_DROPPED))
    if text[:1].isdigit():
        text = f"letter_{text}"
    text = text if case_sensitive else text.lower()
    return f"_{text}" if not allow_reserved and text.lower() in RESERVED else text


def fitting(name: str) -> str:
    """The name, or if Postgres would cut it off, a shorter one that is still its own."""
    text = name.encode()
    if len(text) <= LONGEST:
        return name
    mark = hashlib.sha256(text).hexdigest()[:8]
    return text[: LONGEST - 9].decode(errors="ignore") + "_" + mark
