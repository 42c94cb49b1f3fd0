"""What a webhook asks of the requests that it takes, as a value: how they are verified, told apart and bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self


class Preset(StrEnum):
    """Who sends, and with that how a request proves to be theirs."""

    TOKEN = "token"  # noqa: S105 - a word of triggers.yaml
    """An API token of Headrace with the scope run. What holds where a webhook says nothing."""
    GITHUB = "github"
    """X-Hub-Signature-256 over the body."""
    STRIPE = "stripe"
    """Stripe-Signature over time and body."""
    SLACK = "slack"
    """X-Slack-Signature over time and body."""
    HMAC = "hmac"
    """A signature as the webhook's own keys describe it."""
    BEARER = "bearer"
    """A secret in `Authorization: Bearer`, or bare in a header of the webhook's choice."""
    NONE = "none"
    """Nothing: whoever reaches the service may send."""


SIGNED = frozenset({Preset.GITHUB, Preset.STRIPE, Preset.SLACK, Preset.HMAC})
"""Presets whose requests are signed."""
WITH_SECRET = SIGNED | {Preset.BEARER}
"""Presets that need a secret."""


class Encoding(StrEnum):
    """How a signature is written."""

    HEX = "hex"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a sender signs its requests with HMAC."""

    header: str
    """The header that holds the signature."""
    algorithm: str = "sha256"
    encoding: Encoding = Encoding.HEX
    prefix: str = ""
    """Stands before the signature in its header."""
    signed: str = "{body}"
    """What is signed: `{body}` and `{timestamp}` stand for the two."""
    timestamp_header: str | None = None
    """The header with the time of signing, in seconds since the epoch; None where none is signed."""
    tolerance: float = 300.0
    """Seconds that the time of signing may be off, either way."""


SCHEMES: Mapping[Preset, Scheme] = {
    Preset.GITHUB: Scheme("X-Hub-Signature-256", prefix="sha256="),
    Preset.SLACK: Scheme(
        "X-Slack-Signature", prefix="v0=", signed="v0:{timestamp}:{body}", timestamp_header="X-Slack-Request-Timestamp"
    ),
    Preset.STRIPE: Scheme("Stripe-Signature", prefix="v1=", signed="{timestamp}.{body}"),
}
"""How the known senders sign. Stripe writes time and signatures into one header."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests one sender may make: `burst` at once, then `per_second` of them."""

    per_second: float = 1000.0
    burst: int = 10_000


@dataclass(frozen=True, slots=True)
class HookRules:
    """All that a webhook asks of its requests. Secrets are templates: what they give is never stored."""

    preset: Preset = Preset.TOKEN
    secrets: tuple[str, ...] = ()
    """One, or both while one replaces the other."""
    scheme: Scheme | None = None
    """For the presets that sign."""
    header: str | None = None
    """For BEARER: the header that holds the bare secret; None for Authorization."""
    delivery: str | None = None
    """A template that gives what tells one delivery from another; None for the sender's own delivery id."""
    kind: str | None = None
    """A template that gives the event's kind; None for what the sender says."""
    max_bytes: int = 10 << 20
    """Of a body, as it came and decompressed."""
    max_seconds: float = 20.0
    """Until all of a body has come."""
    rate: Rate = Rate()
    answer: tuple[str, ...] = ()
    """Blocks whose outputs a sender that waits gets to see."""

    def to_json(self) -> dict[str, Any]:
        """The rules as JSON values; what is as by default is left out."""
        plain = HookRules()
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: _plain(value) for name, value in given.items() if value != getattr(plain, name)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The rules that `to_json` wrote."""
        given = dict(value)
        if "preset" in given:
            given["preset"] = Preset(given["preset"])
        if given.get("scheme") is not None:
            given["scheme"] = Scheme(**{**given["scheme"], "encoding": Encoding(given["scheme"]["encoding"])})
        if "rate" in given:
            given["rate"] = Rate(**given["rate"])
        for name in ("secrets", "answer"):
            if name in given:
                given[name] = tuple(given[name])
        return cls(**given)


def _plain(value: Any) -> Any:
    if isinstance(value, Scheme | Rate):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    return list(value) if isinstance(value, tuple) else value
