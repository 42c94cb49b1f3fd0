"""The import hook by which `mage_ai.*` and `default_repo.*` resolve in a worker, before anything that is installed."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any

from headrace.blocks.context import get_repo_path
from headrace.mage.names import MODULES, PACKAGES

PROJECT_PACKAGE = "default_repo"
"""How Mage's own template, and with it much code, calls the project's package whatever its folder is called."""


def install() -> None:
    """Make the names importable in this process; a second call changes nothing."""
    if not any(isinstance(finder, Aliases) for finder in sys.meta_path):
        sys.meta_path.insert(0, Aliases())


class Aliases(MetaPathFinder):
    """Finds the modules of MODULES and PACKAGES, and the project under the name `default_repo`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The alias of that name. Raises ModuleNotFoundError for the rest of mage_ai; None for what is not ours."""
        if fullname == PROJECT_PACKAGE:
            return _project_spec()
        if fullname != "mage_ai" and not fullname.startswith("mage_ai."):
            return None
        if fullname not in MODULES and fullname not in PACKAGES:
            raise ModuleNotFoundError(_not_here(fullname), name=fullname)
        return ModuleSpec(fullname, AliasLoader(), is_package=fullname in PACKAGES)


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
        names = MODULES.get(self.__name__, {})
        if name == "__all__":
            return list(names)
        home = names.get(name)
        if home is None:
            raise AttributeError(f"Headrace's {self.__name__} has no {name}; it has: {', '.join(names) or 'none'}.")
        value = getattr(importlib.import_module(home), name)
        setattr(self, name, value)
        return value


def _project_spec() -> ModuleSpec | None:
    """The project's folder as a package, with its `__init__.py` where it has one."""
    folder = get_repo_path()
    start = os.path.join(folder, "__init__.py")
    if os.path.isfile(start):
        return spec_from_file_location(PROJECT_PACKAGE, start, submodule_search_locations=[folder])
    spec = ModuleSpec(PROJECT_PACKAGE, None, is_package=True)
    spec.submodule_search_locations = [folder]
    return spec


def _not_here(fullname: str) -> str:
    return f"Headrace has no {fullname}. Of mage_ai it has: {', '.join(MODULES)}. Import another library in its place."
