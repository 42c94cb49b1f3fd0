"""Where connectors take their settings from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.blocks.context import get_repo_path
from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.config_key import ConfigKey
from headrace.blocks.io_config import Profile, read_profile
from headrace.blocks.secrets import secrets_in

__all__ = ["ConfigFileLoader", "ConfigKey", "ConfigLoader", "EnvironmentVariableLoader"]


class ConfigLoader:
    """Settings by name: `loader[key]`, `loader.get(key)`, `key in loader`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config if isinstance(config, Profile) else dict(config)

    def get(self, key: str, default: Any = None) -> Any:
        """A setting's value, or `default` where it is not set."""
        value = self.config.get(str(key))
        return default if value is None else value

    def contains(self, key: str) -> bool:
        """Whether a setting is there."""
        return str(key) in self.config

    def __contains__(self, key: object) -> bool:
        return str(key) in self.config

    def __getitem__(self, key: str) -> Any:
        if not self.contains(key):
            known = ", ".join(self.config) if len(self.config) < 40 else "too many to list"
            raise ConnectorFault(f"{self} has no setting {key}.", remedy=f"Its settings: {known or 'none'}.")
        return self.config[str(key)]


class ConfigFileLoader(ConfigLoader):
    """One profile of an io_config.yaml, by default the project's. Raises ConnectionFault, naming file and line.

    A setting that needs an unset variable or a secret that is not there raises it when it is read.
    """

    def __init__(
        self, filepath: str | os.PathLike[str] | None = None, profile: str = "default", config: Any = None
    ) -> None:
        path = Path(filepath) if filepath is not None else Path(get_repo_path()) / "io_config.yaml"
        super().__init__(
            config if config is not None else read_profile(path, str(profile), os.environ, secrets_in(os.environ))
        )
        self.filepath = path
        self.profile = str(profile)

    def __str__(self) -> str:
        return f"Profile {self.profile} in {self.filepath}"


class EnvironmentVariableLoader(ConfigLoader):
    """Settings straight from environment variables of the same names."""

    def __init__(self) -> None:
        super().__init__(os.environ)

    def __str__(self) -> str:
        return "The environment"
