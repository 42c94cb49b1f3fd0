"""Reads the keys of a trigger that say which requests it listens to, and how they prove to be their sender's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.blocks.templating import TemplateError, check_syntax, render
from headrace.domain.triggers import Webhook
from headrace.domain.webhooks import SCHEMES, SIGNED, WITH_SECRET, Encoding, HookRules, Preset, Rate, Scheme
from headrace.project.policies import Refuse, is_count, is_number

_PATH = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ALGORITHMS = ("sha256", "sha1", "sha512")
_KEYS = frozenset({
    "path", "preset", "secret", "header", "algorithm", "encoding", "prefix", "signed", "timestamp_header", "tolerance",
    "delivery", "kind", "max_bytes", "max_seconds", "rate", "answer",
})  # fmt: skip
_SIGNING = ("header", "algorithm", "encoding", "prefix", "signed", "timestamp_header", "tolerance")
_MOST_SECRETS = 2
_PLAIN = HookRules()
MOST_BYTES = 1 << 30


def webhook_of(value: Any, environ: Mapping[str, str], refuse: Refuse) -> Webhook | None:
    """The webhook that a trigger's `webhook` tells; a bare text is its path. None where it is refused."""
    given = {"path": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not given.get("path"):
        refuse("webhook", "it has no path.", "Write `webhook:` and under it `path: orders/new`.")
        return None
    reading = _Reading(given, environ, refuse)
    rules = reading.rules()
    return None if reading.is_refused else Webhook(reading.path(), rules.to_json())


@dataclass
class _Reading:
    """The keys of one webhook while they are read."""

    given: Mapping[str, Any]
    environ: Mapping[str, str]
    refuse_key: Refuse
    is_refused: bool = False

    def refuse(self, message: str, remedy: str) -> None:
        self.is_refused = True
        self.refuse_key("webhook", message, remedy)

    def path(self) -> str:
        return str(self.given["path"]).strip("/")

    def rules(self) -> HookRules:
        if not _PATH.fullmatch(self.path()):
            self.refuse(f"its path cannot be {self.given['path']!r}.", "Write letters, digits and - _ . ~ between /.")
        for key in self.given.keys() - _KEYS:
            self.refuse(f"webhook has no key {key}.", f"Its keys are: {', '.join(sorted(_KEYS))}.")
        preset = self._preset()
        return HookRules(
            preset=preset,
            secrets=self._secrets(preset),
            scheme=self._scheme(preset),
            header=self._header("header") if preset is Preset.BEARER else None,
            delivery=self._template("delivery"),
            kind=self._template("kind"),
            max_bytes=int(self._number("max_bytes", 1, MOST_BYTES, _PLAIN.max_bytes)),
            max_seconds=self._number("max_seconds", 0.1, 3600, _PLAIN.max_seconds),
            rate=self._rate(),
            answer=self._answer(),
        )

    def _preset(self) -> Preset:
        given = self.given.get("preset", Preset.HMAC if "header" in self.given else Preset.TOKEN)
        if given is None or given is False:
            given = Preset.NONE
        if given in set(Preset):
            return Preset(given)
        self.refuse(f"preset cannot be {given!r}.", f"Write one of: {', '.join(Preset)}.")
        return Preset.TOKEN

    def _secrets(self, preset: Preset) -> tuple[str, ...]:
        given = self.given.get("secret")
        texts = tuple(given) if isinstance(given, list) else () if given is None else (given,)
        if preset not in WITH_SECRET:
            if texts:
                self.refuse(f"the preset {preset} takes no secret.", "Remove it, or choose the preset that needs it.")
            return ()
        if not 0 < len(texts) <= _MOST_SECRETS or not all(isinstance(text, str) for text in texts):
            self.refuse(
                f"the preset {preset} needs a secret, or two while one replaces the other.",
                "Write `secret: \"{{ env_var('NAME') }}\"`.",
            )
            return ()
        for text in texts:
            self._check_secret(text)
        return texts

    def _check_secret(self, text: str) -> None:
        try:
            empty = not render(text, environ=self.environ)
        except TemplateError as error:
            self.refuse(f"secret: {error.message}", error.remedy)
            return
        if empty:
            self.refuse("its secret is empty.", "Set the variable that it comes from.")

    def _scheme(self, preset: Preset) -> Scheme | None:
        if preset not in SIGNED:
            self._refuse_keys(preset, set(_SIGNING) - ({"header"} if preset is Preset.BEARER else set()))
            return None
        if preset is not Preset.HMAC:
            self._refuse_keys(preset, set(_SIGNING) - {"tolerance"})
            known = SCHEMES[preset]
            return replace(known, tolerance=self._number("tolerance", 1, 86400, known.tolerance))
        if "header" not in self.given:
            self.refuse("it does not say which header has the signature.", "Write `header: X-Signature`.")
            return None
        return self._own_scheme()

    def _own_scheme(self) -> Scheme:
        timestamp = self._header("timestamp_header")
        signed = self.given.get("signed", "{timestamp}.{body}" if timestamp else "{body}")
        if not isinstance(signed, str) or signed.count("{body}") != 1 or ("{timestamp}" in signed) != bool(timestamp):
            self.refuse(
                f"signed cannot be {signed!r}.", "Write `{body}`, or `{timestamp}.{body}` with a timestamp_header."
            )
            signed = "{body}"
        return Scheme(
            header=self._header("header") or "",
            algorithm=self._one_of("algorithm", _ALGORITHMS, "sha256"),
            encoding=Encoding(self._one_of("encoding", tuple(Encoding), Encoding.HEX)),
            prefix=str(self.given.get("prefix") or ""),
            signed=signed,
            timestamp_header=timestamp,
            tolerance=self._number("tolerance", 1, 86400, 300.0),
        )

    def _refuse_keys(self, preset: Preset, keys: set[str]) -> None:
        for key in sorted(keys & self.given.keys()):
            self.refuse(f"the preset {preset} takes no {key}.", "Remove it, or write `preset: hmac`.")

    def _header(self, key: str) -> str | None:
        given = self.given.get(key)
        if given is None or (isinstance(given, str) and _HEADER.fullmatch(given)):
            return given
        self.refuse(f"{key} cannot be {given!r}.", "Write a header's name.")
        return None

    def _one_of(self, key: str, choices: tuple[str, ...], default: str) -> str:
        given = self.given.get(key, default)
        if given in choices:
            return str(given)
        self.refuse(f"{key} cannot be {given!r}.", f"Write one of: {', '.join(choices)}.")
        return default

    def _number(self, key: str, least: float, most: float, default: float) -> float:
        given = self.given.get(key, default)
        if is_number(given) and least <= given <= most:
            return float(given)
        self.refuse(f"{key} cannot be {given!r}.", f"Write a number from {least:g} to {most:g}.")
        return default

    def _template(self, key: str) -> str | None:
        given = self.given.get(key)
        if given is None:
            return None
        try:
            check_syntax(str(given))
        except TemplateError as error:
            self.refuse(f"{key}: {error.message}", error.remedy)
        return str(given)

    def _rate(self) -> Rate:
        given = self.given.get("rate")
        if given is None:
            return Rate()
        values = {"per_second": given} if is_number(given) else given
        if isinstance(values, dict) and is_number(values.get("per_second")) and 0 < values["per_second"] <= 1e6:
            per_second = float(values["per_second"])
            burst = values.get("burst", max(1, int(per_second)))
            if is_count(burst, least=1) and values.keys() <= {"per_second", "burst"}:
                return Rate(per_second, burst)
        self.refuse(f"rate cannot be {given!r}.", "Write requests a second, or `per_second:` and `burst:` under it.")
        return Rate()

    def _answer(self) -> tuple[str, ...]:
        given = self.given.get("answer")
        blocks = [given] if isinstance(given, str) else [] if given is None else given
        if isinstance(blocks, list) and all(isinstance(block, str) for block in blocks):
            return tuple(blocks)
        self.refuse(f"answer cannot be {given!r}.", "Write the uuids of blocks whose outputs the sender may see.")
        return ()
