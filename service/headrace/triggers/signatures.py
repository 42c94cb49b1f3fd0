"""Whether a request comes from whom it says: signatures and secrets, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence

from headrace.domain.errors import HeadraceError
from headrace.domain.webhooks import Encoding, Preset, Scheme

MILLISECONDS_FROM = 10**11
"""Times beyond this are meant in milliseconds: in seconds they would be thousands of years away."""
MOST_SIGNATURES = 10


class BadSignature(HeadraceError):
    """A request does not prove to be its sender's."""

    code = "bad-signature"


def check_signature(
    preset: Preset, scheme: Scheme, secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float
) -> None:
    """Raise BadSignature unless one of the secrets signed the request, and lately enough. `headers` ignore case."""
    timestamp, signatures = _given(preset, scheme, headers)
    if timestamp is not None:
        _check_time(timestamp, scheme, now)
    prefix, suffix = scheme.signed.replace("{timestamp}", timestamp or "").split("{body}")
    signed = prefix.encode() + body + suffix.encode()
    expected = [hmac.new(secret.encode(), signed, scheme.algorithm).digest() for secret in secrets]
    if not _any_equal(expected, [_decoded(text, scheme.encoding) for text in signatures]):
        raise BadSignature("The signature does not match the body.", remedy="Check the secret on both sides.")


def check_secret(secrets: Iterable[str], given: str | None) -> None:
    """Raise BadSignature unless the request brought one of the secrets."""
    if given is None:
        raise BadSignature("The request brings no secret.", remedy="Send it in the header that the webhook names.")
    if not _any_equal([_digest(secret) for secret in secrets], [_digest(given)]):
        raise BadSignature("The request's secret is not the webhook's.", remedy="Check the secret on both sides.")


def _given(preset: Preset, scheme: Scheme, headers: Mapping[str, str]) -> tuple[str | None, list[str]]:
    """The time of signing, where the scheme has one, and the signatures without what stands before them."""
    header = headers.get(scheme.header)
    if header is None:
        raise BadSignature(f"The header {scheme.header} is missing.", remedy="Have the sender sign its requests.")
    if preset is Preset.STRIPE:
        return _stripe(header)
    timestamp = None
    if scheme.timestamp_header is not None:
        timestamp = headers.get(scheme.timestamp_header)
        if timestamp is None:
            raise BadSignature(f"The header {scheme.timestamp_header} is missing.")
    if not header.startswith(scheme.prefix):
        raise BadSignature(f"The header {scheme.header} does not begin with {scheme.prefix}.")
    return timestamp, [header.removeprefix(scheme.prefix)]


def _stripe(header: str) -> tuple[str, list[str]]:
    """`t=<seconds>,v1=<hex>,v1=<hex>`: several signatures while a secret is replaced."""
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not 0 < len(signatures) <= MOST_SIGNATURES:
        raise BadSignature("The header Stripe-Signature has no time, or no signature of the version v1.")
    return times[0], signatures


def _check_time(timestamp: str, scheme: Scheme, now: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 16):
        raise BadSignature("The time of signing is no number of seconds.")
    signed_at = int(timestamp)
    seconds = signed_at / 1000 if signed_at > MILLISECONDS_FROM else float(signed_at)
    if abs(now - seconds) > scheme.tolerance:
        raise BadSignature(
            f"The request was signed {now - seconds:+.0f} s ago; {scheme.tolerance:g} s are allowed.",
            remedy="Check the clocks of both sides; an old request cannot be sent again.",
        )


def _decoded(text: str, encoding: Encoding) -> bytes:
    """A signature's bytes; none where it is not written as it should be, which equals no digest."""
    try:
        if encoding is Encoding.HEX:
            return bytes.fromhex(text) if text.isascii() and text.strip() == text else b""
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _any_equal(expected: Sequence[bytes], given: Sequence[bytes]) -> bool:
    """Whether some pair is equal; every pair is compared, so that time tells nothing of which."""
    equal = False
    for one in expected:
        for other in given:
            equal |= hmac.compare_digest(one, other)
    return equal
