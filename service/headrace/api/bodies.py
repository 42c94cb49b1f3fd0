"""Reads a request's body within limits on its size, its size once decompressed, and the time it takes to come."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass

from aiohttp import web

from headrace.domain.errors import HeadraceError

_GZIP_OR_ZLIB = 47
_STEP = 64 * 1024


class BodyTooLarge(HeadraceError):
    """A request's body is larger than its route takes, as it came or once decompressed."""

    code = "body-too-large"


class BodyTooSlow(HeadraceError):
    """A request's body took too long to come."""

    code = "body-too-slow"


class UnsupportedEncoding(HeadraceError):
    """A request's body is compressed in a way that is not known here, or is not what it says."""

    code = "unsupported-encoding"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may be at most: bytes, and seconds until all of it is there."""

    bytes: int = 1 << 20
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it came, and without its Content-Encoding; the same object where it has none."""

    raw: bytes
    plain: bytes


async def read_body(request: web.Request, limits: BodyLimits) -> Body:
    """All of a request's body. Raises BodyTooLarge, BodyTooSlow, UnsupportedEncoding; reads no more than the limit."""
    raw = await _raw(request, limits)
    return Body(raw, _decoded(raw, request.headers.get("Content-Encoding", "").strip().lower(), limits))


async def _raw(request: web.Request, limits: BodyLimits) -> bytes:
    if (request.content_length or 0) > limits.bytes:
        raise _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > limits.bytes:
                    raise _too_large(limits)
    except TimeoutError:
        raise BodyTooSlow(
            f"The body did not come within {limits.seconds:g} s.", remedy="Send it in one piece, or over a faster line."
        ) from None
    return bytes(body)


def _decoded(raw: bytes, encoding: str, limits: BodyLimits) -> bytes:
    match encoding:
        case "" | "identity":
            return raw
        case "gzip" | "x-gzip" | "deflate":
            return _inflated(raw, limits)
        case _:
            raise UnsupportedEncoding(
                f"Content-Encoding {encoding!r} is not known here.", remedy="Send the body as it is, or as gzip."
            )


def _inflated(raw: bytes, limits: BodyLimits) -> bytes:
    plain = bytearray()
    rest = raw
    while rest:
        unpacking = zlib.decompressobj(_GZIP_OR_ZLIB)
        rest = _unpack(unpacking, rest, plain, limits)
    return bytes(plain)


def _unpack(unpacking: zlib._Decompress, packed: bytes, plain: bytearray, limits: BodyLimits) -> bytes:
    """Unpack one member into `plain`; what follows it."""
    try:
        while not unpacking.eof:
            part = unpacking.decompress(packed, _STEP)
            packed = unpacking.unconsumed_tail
            plain += part
            if len(plain) > limits.bytes:
                raise _too_large(limits)
            if not part and not packed and not unpacking.eof:
                raise UnsupportedEncoding("The compressed body ends too early.", remedy="Send all of it.")
    except zlib.error as error:
        raise UnsupportedEncoding(
            f"The body is not compressed as its Content-Encoding says: {error}.", remedy="Send it as it is."
        ) from error
    return unpacking.unused_data


def _too_large(limits: BodyLimits) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limits.bytes} bytes.", remedy="Send less at once.")
