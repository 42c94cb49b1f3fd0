"""Connection profiles for tests: an io_config.yaml that points at a test's database."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from headrace.io import ConfigFileLoader


def settings_of(dsn: str) -> dict[str, str | int]:
    """The POSTGRES_ settings of an address."""
    parts = urlsplit(dsn)
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    return {
        "POSTGRES_HOST": parts.hostname or query.get("host", "localhost"),
        "POSTGRES_PORT": parts.port or int(query.get("port", 5432)),
        "POSTGRES_DBNAME": parts.path.lstrip("/"),
        "POSTGRES_USER": unquote(parts.username or query.get("user", "postgres")),
        "POSTGRES_PASSWORD": unquote(parts.password or query.get("password", "")),
    }


def write_profile(folder: Path, dsn: str) -> ConfigFileLoader:
    """Write the default profile into the folder, and read it as a block would."""
    path = folder / "io_config.yaml"
    path.write_text(yaml.safe_dump({"default": settings_of(dsn)}))
    return ConfigFileLoader(path)
