"""Samples."""
from __future__ import annotations
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
@asynccontextmanager
async def serve_samples() -> AsyncIterator[str]:
    """Stub."""
    yield "http://127.0.0.1:1"
