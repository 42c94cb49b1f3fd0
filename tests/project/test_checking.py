"""A whole project checked without running it: sources, profiles, SQL blocks, and the project that this repository is."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.project.checking import ProjectFault, Severity, check_project
from headrace.project.creation import CannotCreateProject, init_project
from headrace.project.reading import read_pipeline, read_project

from tests.support.projects import write_pipeline, write_project

REPOSITORY = Path(__file__).parents[2]
OWN_SERVER = {"POSTGRES_HOST": "db"}
GOOD = "@custom\ndef f(*args, **kwargs):\n    return 1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path / "shop")


def told(root: Path, environ: dict[str, str] | None = None) -> list[tuple[str, int | None, str, str]]:
    return [(f.file, f.line, f.key, str(f.severity)) for f in check_project(root, environ or {})]


def test_a_good_project_has_no_faults(root):
    write_pipeline(root, "p", {"a": (), "b": ("a",)})
    assert told(root) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ndef f(:\n", [(2, "", "error")]),
        ("def f():\n    return 1\n", [(1, "@custom", "error")]),
        ("x = 1\n@data_loader\ndef f():\n    return 1\n", [(3, "@custom", "error")]),
        ("", [(1, "@custom", "error")]),
        (GOOD + GOOD, [(4, "@custom", "warning")]),
        ("if 'custom' not in globals():\n    from headrace import custom\n" + GOOD, []),
        ("import headrace\n@headrace.custom\ndef f(): ...\n", []),
        ("from headrace import custom as mark\n@mark()\nasync def f(): ...\n", []),
        ("import re\nP = re.compile('\\d')\n" + GOOD, []),
        ("(" * 5000, [(1, "", "error")]),
    ],
)
def test_a_python_source_is_checked_without_running_it(root, source, expected):
    write_pipeline(root, "p", {"a": ()}, {"a": source})
    assert told(root) == [("pipelines/p/a.py", *rest) for rest in expected]


@pytest.mark.parametrize(
    ("kind", "mark"), [("conditional", "condition"), ("callback", "callback('failure')"), ("sensor", "sensor")]
)
def test_each_type_has_its_decorator(root, kind, mark):
    write_pipeline(root, "p", {"a": ()}, {"a": f"@{mark}\ndef f(**kwargs):\n    return True\n"}, types={"a": kind})
    assert told(root) == []
    (root / "pipelines/p/a.py").write_text(GOOD)
    assert [key for _, _, key, _ in told(root)] == ["@" + mark.partition("(")[0]]


CONNECTIONS = """default:
  POSTGRES_HOST: {{ env_var('POSTGRES_HOST') }}
dev:
  # {{ env_var('COMMENTED') }} does no harm
  POSTGRES_HOST: {{ env_var('POSTGRES_HOST') }}
  POSTGRES_PASSWORD: {{ env_var('SECRET_WORD') }}
"""


def test_an_unset_variable_counts_only_in_a_profile_that_is_used(root):
    (root / "io_config.yaml").write_text(CONNECTIONS)
    write_pipeline(root, "p", {"a": ()}, {"a": "config_profile = 'default'\n" + GOOD})
    assert told(root, OWN_SERVER) == []
    write_pipeline(root, "p", {"a": ()}, {"a": "config_profile = 'dev'\n" + GOOD})
    assert told(root, OWN_SERVER) == [("io_config.yaml", 6, "POSTGRES_PASSWORD", "error")]
    assert "SECRET_WORD" in check_project(root, OWN_SERVER)[0].message
    assert told(root, OWN_SERVER | {"SECRET_WORD": "x"}) == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", []),
        ("    loader['AWS_KEY']\n", [2]),
        ("    loader.get(ConfigKey.AWS_KEY)\n", [2]),
        ("    x = 'AZURE'\n", []),
    ],
)
def test_of_a_used_profile_only_the_settings_that_blocks_read_need_their_variables(root, source, lines):
    (root / "io_config.yaml").write_text(
        "default:\n  AWS_KEY: \"{{ env_var('KEY') }}\"\n  AZURE_KEY: {{ env_var('KEY') }}\n  POSTGRES_HOST: db\n"
    )
    write_pipeline(root, "p", {"a": ()}, {"a": GOOD + "    loader = ConfigFileLoader(profile='default')\n" + source})
    assert told(root) == [("io_config.yaml", line, "AWS_KEY", "error") for line in lines]


def test_the_variables_of_headraces_own_server_count_as_set(root):
    (root / "io_config.yaml").write_text(CONNECTIONS)
    write_pipeline(root, "p", {"a": ()}, {"a": "config_profile = 'default'\n" + GOOD})
    assert told(root, {}) == []
    assert told(root, {"HEADRACE_DATABASE_URL": "postgresql://db"}) == [("io_config.yaml", 2, "POSTGRES_HOST", "error")]


@pytest.mark.parametrize(
    "use", ["with_profile('x', profile='gone')", "ConfigFileLoader(path, 'gone')", "my_profile: str = 'gone'"]
)
def test_a_missing_profile_is_told_where_it_is_named(root, use):
    write_pipeline(root, "p", {"a": ()}, {"a": GOOD + f"    {use}\n"})
    assert told(root) == [("pipelines/p/a.py", 4, "gone", "error")]


SQL = "blocks:\n- uuid: a\n  type: custom\n- uuid: q\n  type: transformer\n  language: sql\n  upstream_blocks: [a]\n"


def told_of_sql(root: Path, text: str, configuration: str = "") -> list[tuple[str, int | None, str]]:
    folder = write_pipeline(root, "p", {"a": ()})
    (folder / "metadata.yaml").write_text(SQL + f"  configuration:\n    limit: 3\n{configuration}")
    (folder / "q.sql").write_text(text)
    return [(file.removeprefix("pipelines/p/"), line, key) for file, line, key, _ in told(root)]


def test_a_sql_block_runs_on_postgres_by_default_as_its_profile_is_default(root):
    assert told_of_sql(root, "SELECT 1;") == []
    (root / "io_config.yaml").write_text("dev: {}\n")
    assert told_of_sql(root, "SELECT 1;") == [("metadata.yaml", 8, "default")]
    assert told_of_sql(root, "SELECT 1;", "    data_provider_profile: gone\n") == [("metadata.yaml", 10, "gone")]


@pytest.mark.parametrize(
    ("setting", "is_fault"),
    [
        ("data_provider: bigquery", True),
        ("data_provider: PostgreSQL", False),
        ("export_write_policy: bogus", True),
        ("export_write_policy: replace", False),
        ("limit_in_pipeline_run: abc", True),
        ("limit_in_pipeline_run: -1", True),
        ("limit_in_pipeline_run: '10'", False),
    ],
)
def test_settings_that_a_sql_block_cannot_run_with_are_told(root, setting, is_fault):
    expected = [("metadata.yaml", 10, setting.partition(":")[0])] if is_fault else []
    assert told_of_sql(root, "SELECT 1", f"    {setting}\n") == expected


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("SELECT 1,\n 'open\n", 2, ""),
        ("SELECT 1\nFROM {{ df_1 }\n", 2, ""),
        ("SELECT 1\nFROM {{ df_3 }}\n", 2, "df_3"),
        ("SELECT 1;\nSELECT 2", 2, ""),
        ("-- nothing\n", 1, ""),
        ("SELECT {{ block_output('a', parse=lambda data, _: data) }},\n '{{ ds }}' /*\n", 2, ""),
        ("SELECT {{ block_output('a', parse=lambda data, _: data[) }}", 1, ""),
        ("{% if 'open' %}SELECT '{% else %}SELECT 'a{% endif %}b'", None, ""),
        ("{# it's #}SELECT '{{ execution_date }}', {{ \"'\" }}, df_9\nFROM {{ df_1 }};", None, ""),
    ],
)
def test_a_sql_blocks_text_is_checked_without_running_it(root, text, line, key):
    assert told_of_sql(root, text) == ([] if line is None else [("q.sql", line, key)])


def test_raw_statements_may_be_many_and_what_is_not_looked_into_is_left_to_postgres(root):
    assert told_of_sql(root, "SELECT 1; SELECT 2", "    use_raw_sql: true\n    export_write_policy: null\n") == []
    assert told_of_sql(root, "SELECT 'x", "    disable_query_preprocessing: true\n") == []


@pytest.mark.parametrize(
    ("kind", "language", "is_fault"),
    [("data_loader", "r", True), ("data_exporter", "yaml", True), ("custom", "markdown", True), ("markdown", "markdown", False),
     ("conditional", "sql", True), ("callback", "sql", True), ("sensor", "sql", False), ("scratchpad", "r", False)],
)  # fmt: skip
def test_a_language_that_cannot_run_is_one_fault_and_keeps_the_pipeline_from_running(root, kind, language, is_fault):
    folder = write_pipeline(root, "p", {})
    extension = {"markdown": "md"}.get(language, language)
    (folder / f"b.{extension}").write_text("select 1")
    (folder / "metadata.yaml").write_text(f"blocks:\n- uuid: b\n  type: {kind}\n  language: {language}\n")
    errors = [("pipelines/p/metadata.yaml", 4, "language", "error")] if is_fault else []
    assert told(root) == errors
    if errors:
        with pytest.raises(ProjectFault, match=r"metadata\.yaml:4: .* cannot run in this version"):
            read_pipeline(read_project(root, {}), "p")


@pytest.mark.parametrize(
    ("parameters", "is_fault"),
    [("", True), ("x", False), ("x, y", True), ("x, y=1", True), ("*args", False), ("x, *, y", True), ("*, y, **k", False),
     ("**kwargs", True), ("x, /, **kwargs", False)],
)  # fmt: skip
def test_parameters_that_cannot_take_what_the_upstream_blocks_give_are_told(root, parameters, is_fault):
    source = f"import x\n@custom\ndef f({parameters}):\n    return 1\n"
    write_pipeline(root, "p", {"a": (), "b": ("a",)}, {"b": source})
    assert told(root) == ([("pipelines/p/b.py", 3, "f", "error")] if is_fault else [])


@pytest.mark.parametrize("source", ["@custom\n@given\ndef f(): ...\n", "@custom\nclass F: ...\n", "custom(f)\n"])
def test_parameters_that_cannot_be_known_are_left_to_the_run(root, source):
    write_pipeline(root, "p", {"a": (), "b": ("a",)}, {"b": source})
    assert told(root) == []


def test_an_empty_metadata_is_told_by_its_first_line(root):
    folder = write_pipeline(root, "p", {})
    (folder / "metadata.yaml").write_text("")
    assert told(root) == [("pipelines/p/metadata.yaml", 1, "", "error")]


def test_warnings_name_repeated_keys_wrong_uuids_and_bad_env_lines(root):
    folder = write_pipeline(root, "p", {})
    (folder / "metadata.yaml").write_text("uuid: other\nname: a\nname: b\nblocks: []\n")
    (root / ".env").write_text("A=1\nnothing\nB='open\n")
    assert told(root) == [
        (".env", 2, "", "warning"),
        (".env", 3, "", "warning"),
        ("pipelines/p/metadata.yaml", 1, "uuid", "warning"),
        ("pipelines/p/metadata.yaml", 3, "name", "warning"),
    ]
    assert read_pipeline(read_project(root, {}), "p").name == "b"


def test_a_guard_of_a_block_that_is_gone_is_only_a_warning(root):
    folder = write_pipeline(root, "p", {"a": ()})
    with (folder / "metadata.yaml").open("a") as file:
        file.write("conditionals:\n- uuid: c\n  upstream_blocks: [a, gone]\n")
    (folder / "c.py").write_text("@condition\ndef f(*args): return True\n")
    (found,) = check_project(root, {})
    assert (found.key, found.severity) == ("upstream_blocks", Severity.WARNING)
    assert read_pipeline(read_project(root, {}), "p").conditionals[0].upstream == ("a",)


def test_a_variables_template_and_a_sensors_source_are_checked(root):
    write_pipeline(root, "p", {"a": ()}, options={"variables": {"url": "{{ env_var('X' }}"}})
    (root / "sensors").mkdir()
    (root / "sensors/s.py").write_text("def f(:\n")
    assert [(file, key) for file, _, key, _ in told(root)] == [
        ("pipelines/p/metadata.yaml", "url"),
        ("sensors/s.py", ""),
    ]


def test_faults_of_the_settings_do_not_hide_those_of_the_pipelines(root):
    (root / "metadata.yaml").write_text("a: [\n")
    write_pipeline(root, "p", {"a": ("gone",)})
    assert [file for file, *_ in told(root)] == ["metadata.yaml", "pipelines/p/metadata.yaml"]


@pytest.mark.parametrize(
    "environ", [{}, {f"POSTGRES_{p}": "x" for p in ("HOST", "PORT", "USER", "PASSWORD", "DBNAME", "SCHEMA")}]
)
def test_the_repository_is_a_project_without_faults(environ):
    assert check_project(REPOSITORY, environ) == []


def test_the_repositorys_pipelines_are_those_of_the_course():
    pipelines = read_project(REPOSITORY, {}).pipelines
    assert set(pipelines) == {"api_to_postgres", "test_config"}
    assert [(b.uuid, str(b.language), b.upstream) for b in pipelines["api_to_postgres"].blocks] == [
        ("load_api_data", "python", ()),
        ("transform_taxi_data", "python", ("load_api_data",)),
        ("taxi_data_to_postgres", "python", ("transform_taxi_data",)),
        ("load_taxi_data", "sql", ("taxi_data_to_postgres",)),
    ]


def test_a_new_project_has_an_example_and_no_faults(tmp_path):
    folder = tmp_path / "deep" / "new"
    written = init_project(folder)
    assert check_project(folder, {}) == []
    assert {str(path.relative_to(folder)) for path in written} == {
        ".gitignore", "dev.env", "io_config.yaml", "metadata.yaml", "pipelines/example/metadata.yaml",
        "pipelines/example/load_words.py", "pipelines/example/count_words.py",
    }  # fmt: skip
    assert ".env" in (folder / ".gitignore").read_text().splitlines()
    assert len(read_pipeline(read_project(folder, {}), "example").blocks) == 2


def test_a_new_project_overwrites_nothing(tmp_path):
    (tmp_path / "dev.env").write_text("mine")
    init_project(tmp_path)
    assert (tmp_path / "dev.env").read_text() == "mine"
    with pytest.raises(CannotCreateProject):
        init_project(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateProject):
        init_project(tmp_path / "file" / "in")
