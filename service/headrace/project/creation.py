"""Makes a new project in a folder, from the templates that come with the package."""

from __future__ import annotations

from pathlib import Path

from headrace.domain.errors import HeadraceError

TEMPLATE = Path(__file__).with_name("template")
SUFFIX = ".template"
"""Ends the names of template files, so that no tool takes them for files of this repository."""
FOLDERS = (
    "data_loaders", "transformers", "data_exporters", "custom", "conditionals", "callbacks", "sensors", "pipelines",
    "utils",
)  # fmt: skip


class CannotCreateProject(HeadraceError):
    """A project cannot be made in a folder."""

    code = "cannot-create-project"


def init_project(folder: Path) -> list[Path]:
    """Make a project in `folder`, which may be missing; give the files that were written, in order.

    Files that are there already stay as they are. Raises CannotCreateProject where the folder is a project already or
    cannot be written.
    """
    if (folder / "metadata.yaml").exists():
        raise CannotCreateProject(f"{folder} is a project already.", remedy="Name another folder.")
    try:
        return _written(folder)
    except OSError as error:
        raise CannotCreateProject(
            f"No project can be made in {folder}: {error.strerror}.", remedy="Name a folder that can be written."
        ) from error


def _written(folder: Path) -> list[Path]:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    written = []
    for template in sorted(TEMPLATE.rglob(f"*{SUFFIX}")):
        target = folder / _target(template)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(template.read_text())
        written.append(target)
    return written


def _target(template: Path) -> Path:
    """`dot-gitignore.template` stands for `.gitignore`."""
    path = template.relative_to(TEMPLATE)
    name = path.name.removesuffix(SUFFIX)
    return path.with_name("." + name.removeprefix("dot-") if name.startswith("dot-") else name)
