"""Webhooks: which triggers a request is for, whether it comes from its sender, and the event that it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

from headrace.blocks.templating import TemplateError, render
from headrace.domain.errors import HeadraceError
from headrace.domain.events import NewEvent
from headrace.domain.triggers import Webhook
from headrace.domain.webhooks import SIGNED, HookRules, Preset, Rate
from headrace.triggers.book import KnownTrigger, ServedProject, TriggerBook
from headrace.triggers.payloads import UnreadablePayload, payload_of
from headrace.triggers.signatures import check_secret, check_signature

MOST_PATHS = 10_000
LONGEST_KEY = 200
DELIVERY_HEADERS = ("idempotency-key", "webhook-id", "x-delivery-id", "ce-id")
"""Headers in which senders at large tell one delivery from another, the first that is there counts."""
KEPT_OUT = "[kept out]"
_SECRET_WORDS = ("authorization", "cookie", "token", "secret", "password", "api-key", "apikey")


class UnusableWebhook(HeadraceError):
    """A webhook cannot verify requests: its secret cannot be had."""

    code = "unusable-webhook"


class UnreadableKey(HeadraceError):
    """A webhook's own template for what tells deliveries apart cannot be rendered."""

    code = "unreadable-key"


@dataclass(frozen=True)
class Delivery:
    """One request as it came. Header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    raw: bytes
    """The body as it was sent: what is signed, and kept."""
    plain: bytes
    """The body without its Content-Encoding."""

    @cached_property
    def payload(self) -> Any:
        """What the body says. Raises UnreadablePayload."""
        return payload_of(self.headers.get("content-type", ""), self.plain)

    @property
    def readable_payload(self) -> Any:
        """What the body says; None where it cannot be read."""
        try:
            return self.payload
        except UnreadablePayload:
            return None


@dataclass(frozen=True)
class Hook:
    """One path of one project: the triggers that listen to it, and what all of them ask."""

    project: ServedProject
    path: str
    triggers: tuple[KnownTrigger, ...]
    rules: tuple[HookRules, ...]
    """Each once: a request must satisfy all of them."""

    @property
    def needs_token(self) -> bool:
        """Whether a request must bring an API token of Headrace."""
        return any(rules.preset is Preset.TOKEN for rules in self.rules)

    @property
    def max_bytes(self) -> int:
        return min(rules.max_bytes for rules in self.rules)

    @property
    def max_seconds(self) -> float:
        return min(rules.max_seconds for rules in self.rules)

    @property
    def rate(self) -> Rate:
        return min((rules.rate for rules in self.rules), key=lambda rate: rate.per_second)

    @property
    def answer(self) -> frozenset[str]:
        """Blocks whose outputs the sender may see."""
        return frozenset(block for rules in self.rules for block in rules.answer)

    def verify(self, delivery: Delivery, now: float) -> None:
        """Raise BadSignature unless the request satisfies every rule; tokens of Headrace are looked at elsewhere."""
        headers = _AnyCase(delivery.headers)
        for rules, secrets in self._secrets:
            if rules.preset in SIGNED and rules.scheme is not None:
                check_signature(rules.preset, rules.scheme, secrets, headers, delivery.raw, now)
            elif rules.preset is Preset.BEARER:
                check_secret(secrets, _bare_secret(rules, headers))

    @cached_property
    def _secrets(self) -> list[tuple[HookRules, list[str]]]:
        return [(rules, [self._secret(text) for text in rules.secrets]) for rules in self.rules]

    def _secret(self, text: str) -> str:
        try:
            secret = render(text, environ=self.project.environ)
        except TemplateError as error:
            raise UnusableWebhook(
                f"The secret of the webhook {self.path} cannot be had.", remedy=error.remedy
            ) from error
        if not secret:
            raise UnusableWebhook(f"The secret of the webhook {self.path} is empty.", remedy="Set it.")
        return secret

    def event(self, delivery: Delivery) -> NewEvent:
        """The event that a request is. Raises UnreadablePayload, UnreadableKey."""
        rules = self.rules[0]
        names = {"event": delivery.payload, "headers": delivery.headers, "path": delivery.path}
        given = self._rendered(rules.delivery, names) if rules.delivery is not None else _delivery_id(rules, delivery)
        kind = self._rendered(rules.kind, names) if rules.kind is not None else _kind(rules, delivery)
        return NewEvent(
            self.project.id,
            f"webhook:{self.path}",
            (kind or "request")[:LONGEST_KEY],
            _key(given),
            delivery.payload,
            kept_headers(delivery.headers, rules.header),
            delivery.raw,
        )

    def unreadable_event(self, delivery: Delivery) -> NewEvent:
        """What is kept of a request that `event` could not read; the same body again is the same event."""
        return NewEvent(
            self.project.id,
            f"webhook:{self.path}",
            "unreadable",
            "unreadable:" + hashlib.sha256(delivery.raw).hexdigest(),
            delivery.readable_payload,
            kept_headers(delivery.headers, self.rules[0].header),
            delivery.raw,
        )

    def _rendered(self, template: str, names: Mapping[str, Any]) -> str:
        try:
            return render(template, environ=self.project.environ, names=names).strip()
        except TemplateError as error:
            raise UnreadableKey(f"The webhook {self.path}: {error.message}", remedy=error.remedy) from error


@dataclass
class Hooks:
    """The webhooks of the projects that a service serves, as its triggers are now."""

    book: TriggerBook
    _known: dict[str, tuple[tuple[tuple[KnownTrigger, ...], ...], tuple[Hook, ...]]] = field(default_factory=dict)

    def at(self, path: str) -> tuple[Hook, ...]:
        """The webhook of a path, for each project that has one."""
        listening = tuple(self.book.listening_to(project.id, f"webhook:{path}") for project in self.book.projects)
        if not any(listening):
            self._known.pop(path, None)
            return ()
        kept = self._known.get(path)
        if kept is not None and all(one is other for one, other in zip(kept[0], listening, strict=True)):
            return kept[1]
        hooks = tuple(_hook(path, triggers) for triggers in listening if triggers)
        if len(self._known) >= MOST_PATHS:
            self._known.clear()
        self._known[path] = listening, hooks
        return hooks


def _hook(path: str, triggers: tuple[KnownTrigger, ...]) -> Hook:
    ordered = tuple(sorted(triggers, key=lambda known: known.id))
    rules = [
        HookRules.from_json(known.trigger.when.settings) for known in ordered if isinstance(known.trigger.when, Webhook)
    ]
    return Hook(ordered[0].project, path, ordered, tuple(dict.fromkeys(rules)))


class _AnyCase(dict[str, str]):
    """Headers that are asked for in any case and kept in lower case."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


def _bare_secret(rules: HookRules, headers: Mapping[str, str]) -> str | None:
    if rules.header is not None:
        return headers.get(rules.header)
    kind, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else None


def _delivery_id(rules: HookRules, delivery: Delivery) -> str | None:
    """What the sender itself tells its deliveries apart by."""
    match rules.preset:
        case Preset.GITHUB:
            return delivery.headers.get("x-github-delivery")
        case Preset.STRIPE:
            return _field(delivery.payload, "id")
        case Preset.SLACK:
            return _field(delivery.payload, "event_id") or delivery.headers.get("x-slack-signature")
        case _:
            return next((delivery.headers[name] for name in DELIVERY_HEADERS if name in delivery.headers), None)


def _kind(rules: HookRules, delivery: Delivery) -> str | None:
    """What sort of event the sender says it is."""
    match rules.preset:
        case Preset.GITHUB:
            return delivery.headers.get("x-github-event")
        case Preset.STRIPE:
            return _field(delivery.payload, "type")
        case Preset.SLACK:
            inner = delivery.payload.get("event") if isinstance(delivery.payload, dict) else None
            return _field(inner, "type") or _field(delivery.payload, "type") or _field(delivery.payload, "command")
        case _:
            return delivery.headers.get("x-event-type") or delivery.headers.get("ce-type")


def _field(value: Any, name: str) -> str | None:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None


def _key(given: str | None) -> str:
    """An event's key: the delivery's own, shortened by a digest where it is long; one of its own where it has none."""
    if not given:
        return uuid4().hex
    if len(given) <= LONGEST_KEY and given.isprintable():
        return given
    return "sha256:" + hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()


def kept_headers(headers: Mapping[str, str], secret_header: str | None = None) -> dict[str, str]:
    """Headers as they are kept with an event: what may be a secret is left out."""
    hidden = None if secret_header is None else secret_header.lower()
    return {name: KEPT_OUT if name == hidden or _may_be_secret(name) else value for name, value in headers.items()}


def _may_be_secret(name: str) -> bool:
    return any(word in name for word in _SECRET_WORDS)


def lower_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Raw headers by name in lower case; those that come several times are joined by commas."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
