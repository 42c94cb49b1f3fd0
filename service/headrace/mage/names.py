"""Which modules of `mage_ai` there are, and where the names in them live with us."""

from __future__ import annotations

from collections.abc import Mapping

_DECORATORS = "headrace.blocks.decorators"
_CONTEXT = "headrace.blocks.context"
_BASE = "headrace.blocks.io.base"
_CONFIG = "headrace.blocks.io.config"

MODULES: Mapping[str, Mapping[str, str]] = {
    "mage_ai": {},
    "mage_ai.data_preparation": {},
    "mage_ai.data_preparation.decorators": {"*": _DECORATORS},
    "mage_ai.data_preparation.repo_manager": {"get_repo_path": _CONTEXT},
    "mage_ai.data_preparation.shared": {},
    "mage_ai.data_preparation.shared.secrets": {"get_secret_value": "headrace.blocks.secrets"},
    "mage_ai.io": {},
    "mage_ai.io.base": {"DataSource": _BASE, "ExportWritePolicy": _BASE, "FileFormat": _BASE},
    "mage_ai.io.config": {"ConfigFileLoader": _CONFIG, "ConfigKey": _CONFIG, "EnvironmentVariableLoader": _CONFIG},
    "mage_ai.io.file": {"FileIO": "headrace.blocks.io.file"},
    "mage_ai.io.postgres": {"Postgres": "headrace.blocks.io.postgres"},
    "mage_ai.settings": {},
    "mage_ai.settings.repo": {"get_repo_path": _CONTEXT},
}
"""Module to the names it has and the modules of ours that hold them; `*` stands for every name."""
