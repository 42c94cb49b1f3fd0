"""A project with a pipeline of two blocks, served by the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.api import Api, serving_api
from tests.support.held import held
from tests.support.postgres import Server
from tests.support.projects import write_pipeline, write_project

LOAD = """
import pandas as pd

@data_loader
def load(*args, **kwargs):
    print('loading', kwargs.get('day'))
    return pd.DataFrame({'n': [1, 2, 3]})
"""


def write_shop(root: Path) -> Path:
    """The project in `root`."""
    write_project(root)
    write_pipeline(root, "orders", {"load": [], "keep": ["load"]}, {"load": LOAD}, types={"load": "data_loader"})
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_shop(tmp_path / "shop")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driven(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """The API of a project whose runs are driven; one for the tests of a module."""
    root = write_shop(tmp_path_factory.mktemp("driven") / "shop")
    async with postgres.fresh() as url, held(serving_api(root, url)) as serving:
        yield serving


@pytest.fixture
async def api(root: Path, database_url: str) -> AsyncIterator[Api]:
    """The API without an engine, on a fresh database: runs that are made stay as they are."""
    async with held(serving_api(root, database_url, drive=False)) as serving:
        yield serving
