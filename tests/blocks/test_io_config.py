"""Connection profiles: both of Mage's formats, and errors only for the profile that is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.blocks.io_config import ConnectionFault, read_profile

TEXT = """shared: &shared
  POSTGRES_CONNECT_TIMEOUT: 10
default:
  <<: *shared
  POSTGRES_HOST: {{ env_var('HOST') }}
  POSTGRES_PORT: {{ env_var('PORT') | int }}
  POSTGRES_PASSWORD: {{ mage_secret_var('word') }}
  POSTGRES_SCHEMA: {{ env_var('SCHEMA') or 'public' }}
verbose:
  PostgreSQL:
    database: shop
    host: "{{ env_var('HOST') }}"
    user: me
  AWS:
    region: eu
    AWS_PROFILE: x
empty:
text: 3
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "io_config.yaml"
    file.write_text(TEXT)
    return file


def test_the_standard_format_is_read(path):
    values = read_profile(path, "default", {"HOST": "db", "PORT": "5433"}, {"word": "s3"}.__getitem__)
    assert values == {
        "POSTGRES_CONNECT_TIMEOUT": 10,
        "POSTGRES_HOST": "db",
        "POSTGRES_PORT": 5433,
        "POSTGRES_PASSWORD": "s3",
        "POSTGRES_SCHEMA": "public",
    }


def test_the_verbose_format_is_read_under_flat_names_though_another_profile_cannot_be_rendered(path):
    assert read_profile(path, "verbose", {"HOST": "db"}) == {
        "POSTGRES_DBNAME": "shop",
        "POSTGRES_HOST": "db",
        "POSTGRES_USER": "me",
        "AWS_REGION": "eu",
        "AWS_PROFILE": "x",
    }
    assert read_profile(path, "empty", {}) == {}


@pytest.mark.parametrize(
    ("profile", "environ", "line", "part"),
    [
        ("default", {"PORT": "1"}, 5, "HOST"),
        ("default", {"HOST": "db"}, 6, "PORT"),
        ("default", {"HOST": "db", "PORT": "1"}, 7, "secret word"),
        ("verbose", {"PORT": "1"}, 12, "HOST is not set. Profile verbose"),
        ("text", {"PORT": "1"}, 18, "not a mapping"),
        ("gone", {"PORT": "1"}, None, "no profile gone"),
    ],
)
def test_what_a_used_profile_lacks_is_told_by_line(path, profile, environ, line, part):
    with pytest.raises(ConnectionFault) as caught:
        read_profile(path, profile, environ)
    assert caught.value.line == line
    assert part in caught.value.message


@pytest.mark.parametrize(
    ("text", "line"), [("a: [\n", 2), ("a:\n  b: {{ x }\n", 2), ("a: !!python/name:os.system\n", 1), ("- a\n", 1)]
)
def test_a_file_that_cannot_be_read_is_told_by_line(path, text, line):
    path.write_text(text)
    with pytest.raises(ConnectionFault) as caught:
        read_profile(path, "a", {})
    assert caught.value.line == line


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConnectionFault, match="cannot be read"):
        read_profile(tmp_path / "io_config.yaml", "default", {})
