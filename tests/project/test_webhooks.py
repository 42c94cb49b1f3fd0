"""The keys of a webhook in triggers.yaml, and what is refused in them."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.domain.triggers import Webhook
from headrace.domain.webhooks import HookRules, Preset, Rate
from headrace.project.webhooks import webhook_of

ENVIRON = {"KEY": "k", "EMPTY": ""}
SECRET = "{{ env_var('KEY') }}"


def read(value: Any) -> tuple[Webhook | None, list[str]]:
    told: list[str] = []
    return webhook_of(value, ENVIRON, lambda key, message, remedy: told.append(f"{message} {remedy}")), told


def rules(value: Any) -> HookRules:
    webhook, told = read(value)
    assert webhook is not None, told
    return HookRules.from_json(webhook.settings)


def test_a_bare_path_asks_for_an_api_token():
    webhook, told = read("/orders/new/")
    assert webhook == Webhook("orders/new", {})
    assert rules("orders").preset is Preset.TOKEN
    assert told == []


def test_what_is_read_comes_back_from_json_as_it_was():
    given = {
        "path": "a", "preset": "hmac", "secret": [SECRET, "old"], "header": "X-Sig", "prefix": "v=",
        "timestamp_header": "X-At", "tolerance": 60, "encoding": "base64", "algorithm": "sha512",
        "delivery": "{{ event.id }}", "kind": "{{ headers['x-kind'] }}", "max_bytes": 5, "max_seconds": 1.5,
        "rate": {"per_second": 2, "burst": 9}, "answer": ["load"],
    }  # fmt: skip
    found = rules(given)
    assert HookRules.from_json(found.to_json()) == found
    assert (found.scheme.signed, found.scheme.tolerance, found.rate) == ("{timestamp}.{body}", 60, Rate(2, 9))
    assert found.secrets == (SECRET, "old")


@pytest.mark.parametrize("preset", ["github", "stripe", "slack"])
def test_a_known_sender_needs_a_secret_and_nothing_else(preset: str):
    found = rules({"path": "a", "preset": preset, "secret": SECRET})
    assert (found.preset, found.scheme.tolerance) == (preset, 300)


def test_a_header_alone_means_a_signature_of_ones_own():
    assert rules({"path": "a", "header": "X-Sig", "secret": SECRET}).preset is Preset.HMAC


def test_open_to_everybody_must_be_said():
    assert rules({"path": "a", "preset": "none"}).preset is Preset.NONE


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({}, "no path"),
        ({"path": "../x"}, None),
        ({"path": "a b"}, "path cannot be"),
        ({"path": "a//b"}, "path cannot be"),
        ({"path": "a", "presett": "x"}, "no key presett"),
        ({"path": "a", "preset": "gitlab"}, "preset cannot be"),
        ({"path": "a", "preset": "github"}, "needs a secret"),
        ({"path": "a", "preset": "github", "secret": []}, "needs a secret"),
        ({"path": "a", "preset": "github", "secret": ["a", "b", "c"]}, "needs a secret"),
        ({"path": "a", "preset": "github", "secret": ""}, "secret is empty"),
        ({"path": "a", "preset": "github", "secret": "{{ env_var('EMPTY') }}"}, "secret is empty"),
        ({"path": "a", "preset": "github", "secret": "{{ env_var('UNSET') }}"}, "UNSET is not set"),
        ({"path": "a", "preset": "github", "secret": SECRET, "header": "X"}, "takes no header"),
        ({"path": "a", "secret": SECRET}, "takes no secret"),
        ({"path": "a", "preset": "hmac", "secret": SECRET}, "which header"),
        ({"path": "a", "preset": "hmac", "secret": SECRET, "header": "X Y"}, "header cannot be"),
        ({"path": "a", "preset": "hmac", "secret": SECRET, "header": "X", "algorithm": "md5"}, "algorithm cannot be"),
        ({"path": "a", "preset": "hmac", "secret": SECRET, "header": "X", "signed": "x"}, "signed cannot be"),
        ({"path": "a", "preset": "hmac", "secret": SECRET, "header": "X", "signed": "{timestamp}{body}"}, "signed"),
        ({"path": "a", "preset": "none", "rate": 0}, "rate cannot be"),
        ({"path": "a", "preset": "none", "max_bytes": 0}, "max_bytes cannot be"),
        ({"path": "a", "preset": "none", "delivery": "{{ x"}, "delivery"),
        ({"path": "a", "preset": "none", "answer": {"a": 1}}, "answer cannot be"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_remedy(value: Any, told: str | None):
    webhook, messages = read(value)
    if told is None:
        return
    assert webhook is None
    assert told in " ".join(messages)
