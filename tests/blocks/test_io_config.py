"""Connection profiles: both of Mage's formats, and errors only for the profile that is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.blocks.io.config import ConfigFileLoader
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


def read_settings(path: Path, profile: str, environ: dict[str, str]) -> None:
    settings = read_profile(path, profile, environ)
    for part in ("HOST", "PORT", "PASSWORD"):
        settings.get(f"POSTGRES_{part}")


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
        read_settings(path, profile, environ)
    assert caught.value.line == line
    assert part in caught.value.message


def test_a_setting_that_lacks_a_variable_does_no_harm_until_it_is_read(path):
    path.write_text("default:\n  AWS_KEY: \"{{ env_var('KEY') }}\"\n  POSTGRES_HOST: db\n")
    loader = ConfigFileLoader(config=read_profile(path, "default", {}))
    assert loader["POSTGRES_HOST"] == "db"
    assert "AWS_KEY" in loader
    for read in (loader.get, loader.__getitem__, loader.config.__getitem__):
        with pytest.raises(ConnectionFault, match="line 2: The environment variable KEY is not set"):
            read("AWS_KEY")
    assert ConfigFileLoader(config=read_profile(path, "default", {"KEY": "k"})).get("AWS_KEY") == "k"


@pytest.mark.parametrize("text", ["a: {{ env_var('X') }}\n", "a:\n  b: {{ 1/0 }}\n", "'a':\n  b: 1\n"])
def test_the_profiles_that_there_are_are_told_whatever_else_fails_and_the_version_is_none(path, text):
    path.write_text("version: 0.1.1\n" + text + "other: &other\n  b: 1\n")
    with pytest.raises(ConnectionFault, match="no profile gone") as caught:
        read_profile(path, "gone", {})
    assert caught.value.remedy in ("Its profiles: a, other.", "Its profiles: other.")
    assert ("a, other" in caught.value.remedy) == ("b:" in text)


@pytest.mark.parametrize(
    ("text", "line"), [("a: [\n", 2), ("a:\n  b: {{ x }\n", 2), ("a: !!python/name:os.system\n", 1), ("- a\n", 1)]
)
def test_a_file_that_cannot_be_read_is_told_by_line(path, text, line):
    path.write_text(text)
    with pytest.raises(ConnectionFault) as caught:
        read_profile(path, "a", {})
    assert caught.value.line == line
    assert f"io_config.yaml, line {line}: " in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConnectionFault, match="cannot be read"):
        read_profile(tmp_path / "io_config.yaml", "default", {})


@pytest.mark.parametrize(
    "word",
    ["it's a #secret", "#1", "a: b", "ends:", "@x", "*x", "&x", "!x", "%x", "- x", "[x", "{x", '"', "'", "0123", "1_0",
     "0x1f", "a\nb", " padded ", "2021-01-01", "ü\u2028", "\\n", "{{ 7 }}"],
)  # fmt: skip
@pytest.mark.parametrize(
    "bare", ["{{ env_var('WORD') }}", "{{ mage_secret_var('word') }}", "\"{{ env_var('WORD') }}\""]
)
def test_a_value_that_yaml_would_refuse_or_change_comes_through_as_it_is(path, word, bare):
    path.write_text(f"dev:\n  POSTGRES_PASSWORD: {bare}\n  POSTGRES_HOST: db\n")
    values = read_profile(path, "dev", {"WORD": word}, {"word": word}.__getitem__)
    assert values == {"POSTGRES_PASSWORD": word, "POSTGRES_HOST": "db"}


def test_such_a_value_is_seen_by_the_template_as_it_is_and_stands_within_a_longer_text(path):
    path.write_text(
        "dev:\n  A: {{ 'yes' if env_var('WORD') == '#1' else 'no' }}x\n  B: host-{{ env_var('WORD') }}.example\n"
    )
    assert read_profile(path, "dev", {"WORD": "#1"}) == {"A": "yesx", "B": "host-#1.example"}


def test_numbers_truth_values_json_and_nothing_mean_in_a_variable_what_they_mean_in_yaml(path):
    environ = {"N": "5432", "T": "true", "J": '{"a": 1}', "E": ""}
    path.write_text("dev:\n" + "".join(f"  {name}: {{{{ env_var('{name}') }}}}\n" for name in environ))
    assert read_profile(path, "dev", environ) == {"N": 5432, "T": True, "J": {"a": 1}, "E": None}
