"""Which modules of `mage_ai` there are, and where the names in them live with us."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.blocks.decorators import IGNORED, INJECTED

_CONTEXT = "headrace.blocks.context"
_BASE = "headrace.blocks.io.base"
_CONFIG = "headrace.blocks.io.config"

MODULES: Mapping[str, Mapping[str, str]] = {
    "mage_ai.data_preparation.decorators": dict.fromkeys(
        (*INJECTED, *IGNORED, "collect_decorated_objs"), "headrace.blocks.decorators"
    ),
    "mage_ai.data_preparation.repo_manager": {"get_repo_path": _CONTEXT},
    "mage_ai.data_preparation.shared.secrets": {"get_secret_value": "headrace.blocks.secrets"},
    "mage_ai.io.base": dict.fromkeys(("DataSource", "ExportWritePolicy", "FileFormat"), _BASE),
    "mage_ai.io.config": dict.fromkeys(("ConfigFileLoader", "ConfigKey", "EnvironmentVariableLoader"), _CONFIG),
    "mage_ai.io.file": {"FileIO": "headrace.blocks.io.file"},
    "mage_ai.io.postgres": {"Postgres": "headrace.blocks.io.postgres"},
    "mage_ai.orchestration.run_status_checker": {"check_status": "headrace.blocks.run_status"},
    "mage_ai.settings.repo": {"get_repo_path": _CONTEXT},
}
"""Module to the names it has and the modules of ours that hold them."""

PACKAGES = frozenset((
    "mage_ai", "mage_ai.data", "mage_ai.data.tabular", "mage_ai.data_cleaner", "mage_ai.data_cleaner.column_types",
    "mage_ai.data_cleaner.transformer_actions", "mage_ai.data_preparation", "mage_ai.data_preparation.models",
    "mage_ai.data_preparation.models.block", "mage_ai.data_preparation.models.block.remote",
    "mage_ai.data_preparation.shared", "mage_ai.io", "mage_ai.orchestration", "mage_ai.orchestration.db",
    "mage_ai.orchestration.db.models", "mage_ai.orchestration.triggers", "mage_ai.services", "mage_ai.settings",
    "mage_ai.shared", "mage_ai.streaming", "mage_ai.streaming.sinks", "mage_ai.streaming.sources",
))  # fmt: skip
"""Packages of `mage_ai`: they are here, empty, so that an import of something below tells which module is missing."""
