"""Signatures: the senders' own published examples, and everything that must not pass."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from headrace.domain.webhooks import SCHEMES, Encoding, Preset, Scheme
from headrace.triggers.signatures import BadSignature, check_secret, check_signature

GITHUB_BODY, GITHUB_SECRET = b"Hello, World!", "It's a Secret to Everybody"
GITHUB = {
    "X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
}
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SLACK_TIME = 1531420618
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
SLACK = {
    "X-Slack-Request-Timestamp": str(SLACK_TIME),
    "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}


def stripe(body: bytes, *secrets: str, at: int) -> dict[str, str]:
    signed = [hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest() for secret in secrets]
    return {"Stripe-Signature": ",".join([f"t={at}", *(f"v1={text}" for text in signed), "v0=ignored"])}


def check(preset: Preset, secrets: list[str], headers: dict[str, str], body: bytes, now: float = 0.0) -> None:
    check_signature(preset, SCHEMES[preset], secrets, headers, body, now)


def test_githubs_own_example_passes():
    check(Preset.GITHUB, [GITHUB_SECRET], GITHUB, GITHUB_BODY)


def test_slacks_own_example_passes():
    check(Preset.SLACK, [SLACK_SECRET], SLACK, SLACK_BODY, SLACK_TIME + 10)


def test_stripes_time_and_body_are_signed_together():
    check(Preset.STRIPE, ["whsec_x"], stripe(b"{}", "whsec_x", at=1000), b"{}", 1100)
    with pytest.raises(BadSignature, match="does not match"):
        check(Preset.STRIPE, ["whsec_x"], stripe(b"{}", "whsec_x", at=1000), b"{} ", 1100)


@pytest.mark.parametrize("sent_with", ["old", "new"])
def test_both_secrets_count_while_one_replaces_the_other(sent_with: str):
    check(Preset.STRIPE, ["old", "new"], stripe(b"{}", sent_with, at=5), b"{}", 5)
    check(Preset.STRIPE, [sent_with], stripe(b"{}", "old", "new", at=5), b"{}", 5)


@pytest.mark.parametrize(
    "signature",
    [
        "", "sha256=", "sha256", "sha1=757107ea", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        GITHUB["X-Hub-Signature-256"][:-1], GITHUB["X-Hub-Signature-256"][:-2], GITHUB["X-Hub-Signature-256"] + "00",
        GITHUB["X-Hub-Signature-256"][:-1] + "0", GITHUB["X-Hub-Signature-256"].replace("757", "７５７"),
        "sha256=" + "zz" * 32, "sha256=" + "00" * 32, " " + GITHUB["X-Hub-Signature-256"], "sha256=" + "0" * 100_000,
    ],
)  # fmt: skip
def test_a_signature_of_wrong_length_or_form_does_not_pass(signature: str):
    with pytest.raises(BadSignature):
        check(Preset.GITHUB, [GITHUB_SECRET], {"X-Hub-Signature-256": signature}, GITHUB_BODY)


def test_a_missing_signature_does_not_pass():
    for preset in (Preset.GITHUB, Preset.SLACK, Preset.STRIPE):
        with pytest.raises(BadSignature, match="missing"):
            check(preset, ["s"], {}, b"")


@pytest.mark.parametrize("secret", ["it's a secret to everybody", GITHUB_SECRET + " ", "x"])
def test_another_secret_does_not_pass(secret: str):
    with pytest.raises(BadSignature, match="does not match"):
        check(Preset.GITHUB, [secret], GITHUB, GITHUB_BODY)


@pytest.mark.parametrize("off", [-301, 301, 10**6])
def test_what_was_signed_too_long_ago_or_too_far_ahead_does_not_pass(off: int):
    with pytest.raises(BadSignature, match="300 s are allowed"):
        check(Preset.SLACK, [SLACK_SECRET], SLACK, SLACK_BODY, SLACK_TIME + off)
    with pytest.raises(BadSignature, match="300 s are allowed"):
        check(Preset.STRIPE, ["s"], stripe(b"{}", "s", at=10**9), b"{}", 10**9 + off)


@pytest.mark.parametrize("time", ["", "-5", "1e9", "0x10", "１２３", "9" * 17, "12 ", "nan"])
def test_a_time_that_is_no_number_does_not_pass(time: str):
    with pytest.raises(BadSignature):
        check(Preset.SLACK, [SLACK_SECRET], {**SLACK, "X-Slack-Request-Timestamp": time}, SLACK_BODY, SLACK_TIME)


@pytest.mark.parametrize("header", ["", "t=1", "v1=00", "t=1,t=2,v1=00", "t=1," + "v1=00," * 11, "t=1,v0=00"])
def test_a_stripe_header_without_one_time_and_few_signatures_does_not_pass(header: str):
    with pytest.raises(BadSignature):
        check(Preset.STRIPE, ["s"], {"Stripe-Signature": header}, b"{}", 1)


def test_a_time_in_milliseconds_is_understood():
    scheme = Scheme("X-Sig", signed="{timestamp}.{body}", timestamp_header="X-At")
    at = "1700000000123"
    signature = hmac.new(b"s", f"{at}.b".encode(), hashlib.sha256).hexdigest()
    check_signature(Preset.HMAC, scheme, ["s"], {"X-Sig": signature, "X-At": at}, b"b", 1700000010)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_a_scheme_of_ones_own_may_be_written_in_base64(algorithm: str):
    scheme = Scheme("X-Sig", algorithm, Encoding.BASE64, "sig ")
    digest = hmac.new(b"s", b"\x00\xffbody", algorithm).digest()
    good = "sig " + base64.b64encode(digest).decode()
    check_signature(Preset.HMAC, scheme, ["s"], {"X-Sig": good}, b"\x00\xffbody", 0)
    for bad in (good[:-4], good + "=", good.replace("=", ""), "sig " + digest.hex()):
        with pytest.raises(BadSignature):
            check_signature(Preset.HMAC, scheme, ["s"], {"X-Sig": bad}, b"\x00\xffbody", 0)


def test_a_bare_secret_must_be_one_of_the_webhooks():
    check_secret(["a", "b"], "b")
    for given in (None, "", "c", "ab", "b\udcff"):
        with pytest.raises(BadSignature):
            check_secret(["a", "b"], given)


def test_every_pair_of_secret_and_signature_is_compared(monkeypatch: pytest.MonkeyPatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(1) or real(a, b))
    check(Preset.STRIPE, ["one", "two"], stripe(b"{}", "one", "other", at=5), b"{}", 5)
    assert len(compared) == 4
