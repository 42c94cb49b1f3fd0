"""Secrets: environment variables by name, for blocks and for profiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.blocks.io_config import ConnectionFault
from headrace.blocks.secrets import NoSuchSecret, get_secret_value
from headrace.io import ConfigFileLoader


def test_a_secret_is_the_environment_variable_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "hush")
    assert get_secret_value("API_KEY") == "hush"


def test_a_secret_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_KEY", raising=False)
    with pytest.raises(NoSuchSecret, match="API_KEY"):
        get_secret_value("API_KEY")


def test_a_profile_finds_its_secrets_and_names_the_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "io_config.yaml"
    path.write_text("default:\n  POSTGRES_PASSWORD: \"{{ mage_secret_var('API_KEY') }}\"\n")
    monkeypatch.setenv("API_KEY", "hush")
    assert ConfigFileLoader(path)["POSTGRES_PASSWORD"] == "hush"
    monkeypatch.delenv("API_KEY")
    profile = ConfigFileLoader(path)
    with pytest.raises(ConnectionFault, match=r"no secret API_KEY.*POSTGRES_PASSWORD"):
        profile["POSTGRES_PASSWORD"]
