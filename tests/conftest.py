"""Fixtures for all tests."""
import secrets
import asyncpg
import pytest
@pytest.fixture
async def database_url():
    name = "t_" + secrets.token_hex(6)
    admin = "postgresql://postgres@127.0.0.1:5432/test"
    c = await asyncpg.connect(admin)
    await c.execute(f"create database {name}")
    await c.close()
    yield f"postgresql://postgres@127.0.0.1:5432/{name}"
    c = await asyncpg.connect(admin)
    await c.execute(f"drop database {name} with (force)")
    await c.close()
