"""One connection to the service: what goes wrong on it before there is a request is answered in the form of problems.

aiohttp closes a connection that has sent no whole head for as long as it may be idle, whatever trickles in. Here it
says why first, where part of a head had come.
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from headrace.api.headers import HEADERS, SERVER, add_headers_to
from headrace.api.problems import problem, problem_body
from headrace.domain.errors import HeadraceError


class UnreadableRequest(HeadraceError):
    """What was sent is no HTTP request."""

    code = "unreadable-request"


class HeadTooSlow(HeadraceError):
    """The head of a request did not come in time."""

    code = "head-too-slow"


class Connection(web.RequestHandler):
    """aiohttp's handler of a connection, with answers of ours."""

    __slots__ = ("_closes_idle", "_hears")

    _closes_idle: bool
    _hears: bool
    """Whether anything came since the last request was answered."""

    def data_received(self, data: bytes) -> None:
        self._hears = True
        super().data_received(data)

    def answered(self) -> None:
        """Hear that a request was answered: what comes now is the next one."""
        self._hears = False

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status != HTTPStatus.BAD_REQUEST:
            return super().handle_error(request, status, exc, message)
        told = (message or "").partition("\n")[0].rstrip(": ") or "it is malformed"
        error = UnreadableRequest(f"The request cannot be read: {told}.", remedy="Send HTTP/1.1.")
        response = problem(error, request.path)
        add_headers_to(response)
        response.force_close()
        return response

    def _process_keepalive(self) -> None:
        self._closes_idle = True
        try:
            super()._process_keepalive()
        finally:
            self._closes_idle = False

    def force_close(self) -> None:
        if getattr(self, "_closes_idle", False) and getattr(self, "_hears", False) and self.transport is not None:
            self.transport.write(_too_slow(self.keepalive_timeout))
        super().force_close()


def _too_slow(seconds: float) -> bytes:
    error = HeadTooSlow(f"The head of the request did not come within {seconds:g} s.", remedy="Send it in one piece.")
    told = problem(error, "/")
    body = problem_body(error, "/")
    headers = {
        **HEADERS,
        "Server": SERVER,
        "Content-Type": told.content_type,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {told.status} {HTTPStatus(told.status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
