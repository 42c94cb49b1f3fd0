"""The import hook by which `mage_ai.*` and `default_repo.*` resolve in a worker, before anything that is installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from headrace.blocks.context import get_repo_path
from headrace.mage.names import MODULES

PROJECT_PACKAGE = "default_repo"
"""How Mage's own template, and with it much code, calls the project's package whatever its folder is called."""


def install() -> None:
    """Make the names importable in this process; a second call changes nothing."""
    if not any(isinstance(finder, Aliases) for finder in sys.meta_path):
        sys.meta_path.insert(0, Aliases())


class Aliases(MetaPathFinder):
    """Finds the modules of MODULES, and the project under the name `default_repo`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The alias of that name. Raises ModuleNotFoundError for the rest of mage_ai; None for what is not ours."""
        if fullname == PROJECT_PACKAGE:
            return _project_spec()
        if fullname != "mage_ai" and not fullname.startswith("mage_ai."):
            return None
        if fullname not in MODULES:
            raise ModuleNotFoundError(_not_here(fullname), name=fullname)
        return ModuleSpec(fullname, AliasLoader(), is_package=True)


class AliasLoader(Loader):
    """Makes a module whose names are looked up in ours when they are first asked for."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty alias."""
        return Alias(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the names come when they are asked for."""


class Alias(ModuleType):
    """A module of `mage_ai`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        names = MODULES[self.__name__]
        home = names.get(name) or names.get("*")
        if home is None:
            known = ", ".join(names) or "none"
            raise AttributeError(f"Headrace's {self.__name__} has no {name}; it has: {known}.")
        value = getattr(importlib.import_module(home), name)
        setattr(self, name, value)
        return value


def _project_spec() -> ModuleSpec:
    """A package without a file, whose modules are found in the project's folder."""
    spec = ModuleSpec(PROJECT_PACKAGE, None, is_package=True)
    spec.submodule_search_locations = [get_repo_path()]
    return spec


def _not_here(fullname: str) -> str:
    known = ", ".join(name for name, names in MODULES.items() if names)
    return f"Headrace has no {fullname}. Of mage_ai it has: {known}. Import another library in its place."
