"""Imports of mage_ai in block files resolve to ours; the rest of it says what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def answer(code: str, project: Path) -> str:
    """What a fresh interpreter prints: the hook is for whole processes."""
    start = f"import headrace.mage as m; m.install(); from headrace.blocks import context; context.set_project({str(project)!r})\n"
    result = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


@pytest.mark.parametrize(
    ("line", "name", "home"),
    [
        ("from mage_ai.data_preparation.decorators import data_loader as it, test", "data_loader", "decorators"),
        ("from mage_ai.data_preparation.decorators import streaming_source as it", "", "decorators"),
        ("from mage_ai.settings.repo import get_repo_path as it", "get_repo_path", "context"),
        ("from mage_ai.data_preparation.repo_manager import get_repo_path as it", "get_repo_path", "context"),
        ("from mage_ai.io.config import ConfigFileLoader as it", "ConfigFileLoader", "io.config"),
        ("from mage_ai.io.postgres import Postgres as it", "Postgres", "io.postgres"),
        ("from mage_ai.io.file import FileIO as it", "FileIO", "io.file"),
        ("from mage_ai.io.base import ExportWritePolicy as it", "ExportWritePolicy", "io.base"),
        ("from mage_ai.orchestration.run_status_checker import check_status as it", "check_status", "run_status"),
        ("from mage_ai.data_preparation.shared.secrets import get_secret_value as it", "get_secret_value", "secrets"),
    ],
)
def test_a_name_of_mage_is_ours(line: str, name: str, home: str, tmp_path: Path) -> None:
    told = answer(f"{line}\nprint(it.__module__, it.__name__)", tmp_path)
    assert told.split()[0] == f"headrace.blocks.{home}", told
    assert name in told


@pytest.mark.parametrize(
    "module",
    [
        "mage_ai.io.snowflake",
        "mage_ai.io.google_cloud_storage",
        "mage_ai.orchestration.triggers.api",
        "mage_ai.orchestration.pipeline_scheduler",
        "mage_ai.data_cleaner.transformer_actions.base",
        "mage_ai.data_preparation.models.global_data_product",
        "mage_ai.streaming.sources.base_python",
        "mage_ai.shared.parsers",
    ],
)
def test_a_module_that_is_not_there_is_named_with_those_that_are(module: str, tmp_path: Path) -> None:
    told = answer(f"from {module} import thing", tmp_path)
    assert f"ModuleNotFoundError: Headrace has no {module}." in told
    assert "mage_ai.io.postgres" in told
    assert answer(f"try: import {module}\nexcept ImportError as error: print(error.name)", tmp_path) == f"{module}\n"


def test_all_names_of_a_module_come_with_a_star(tmp_path: Path) -> None:
    code = "from mage_ai.data_preparation.decorators import *\nprint(data_loader.__name__, xy(max) is max)"
    assert answer(code, tmp_path) == "data_loader True\n"


def test_a_block_whose_decorators_are_imported_without_a_condition_runs(tmp_path: Path) -> None:
    source = "from mage_ai.data_preparation.decorators import *\n@data_loader\ndef f():\n    return 7\n"
    code = (
        "from headrace.blocks import calling\n"
        f"found = calling.collect({source!r}, '/b.py', 'data_loader', {{}})\nprint(calling.call_block(found, {{}}, {{}}))"
    )
    assert answer(code, tmp_path) == "[7]\n"


def test_settings_of_other_stores_have_their_keys(tmp_path: Path) -> None:
    code = "from mage_ai.io.config import ConfigKey as K\nprint(K.AWS_REGION, K('POSTGRES_HOST'), f'{K.MYSQL_HOST}')"
    assert answer(code, tmp_path) == "AWS_REGION POSTGRES_HOST MYSQL_HOST\n"


def test_a_name_that_is_not_there_is_an_import_error(tmp_path: Path) -> None:
    assert "ImportError: cannot import name 'Oracle'" in answer("from mage_ai.io.postgres import Oracle", tmp_path)


def test_default_repo_is_the_project_whatever_its_folder_is_called(tmp_path: Path) -> None:
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "words.py").write_text("HELLO = 'hello'\n")
    assert answer("from default_repo.utils.words import HELLO\nprint(HELLO)", tmp_path) == "hello\n"
    (tmp_path / "__init__.py").write_text("from default_repo.utils.words import HELLO as WORD\n")
    assert answer("import default_repo\nprint(default_repo.WORD)", tmp_path) == "hello\n"


def test_installing_loads_no_pandas_and_twice_is_once(tmp_path: Path) -> None:
    code = "import sys; m.install(); print('pandas' in sys.modules, sum(type(f).__name__ == 'Aliases' for f in sys.meta_path))"
    assert answer(code, tmp_path) == "False 1\n"


def test_importing_headrace_loads_no_pandas(tmp_path: Path) -> None:
    assert answer("import sys, headrace; headrace.data_loader; print('pandas' in sys.modules)", tmp_path) == "False\n"
