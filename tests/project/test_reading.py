"""Projects as they are found on disk: Mage's shapes, and each way in which a file can be wrong."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from headrace.domain.pipeline import (
    BlockType,
    Isolation,
    Limits,
    Pipeline,
    pipeline_from_json,
    pipeline_to_json,
    topological_order,
)
from headrace.domain.retry import RetryPolicy
from headrace.project.faults import NoProject, ProjectFault, Severity, UnknownPipeline
from headrace.project.graph import find_cycle
from headrace.project.reading import Project, read_pipeline, read_project
from hypothesis import given
from hypothesis import strategies as st

from tests.support.projects import write_pipeline, write_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path / "shop")


def written(root: Path, text: str, **files: str) -> Project:
    """A project whose pipeline `p` has this metadata.yaml; files by path, `__` for `/`."""
    folder = root / "pipelines" / "p"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.yaml").write_text(text)
    for name, source in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return read_project(root, {})


def fault(project: Project, part: str = ""):
    """The one error of pipeline p, its message having `part`."""
    with pytest.raises(ProjectFault) as caught:
        read_pipeline(project, "p")
    (found,) = [f for f in caught.value.faults if part in f.message]
    return found


ONE = "blocks:\n- uuid: a\n  type: custom\n"


def test_a_folder_without_metadata_is_no_project(tmp_path):
    with pytest.raises(NoProject) as caught:
        read_project(tmp_path, {})
    assert caught.value.code == "no-project"


def test_dotenv_gives_only_what_the_environment_lacks(root):
    (root / ".env").write_text("# c\nexport A=1\nB='two # x'\nC=\"x\\ny\" # c\nD=four # c\nE=\n")
    environ = read_project(root, {"A": "real"}).environ
    assert environ == {"A": "real", "B": "two # x", "C": "x\ny", "D": "four", "E": ""}


def test_settings_are_rendered_and_their_faults_have_lines(root):
    (root / "metadata.yaml").write_text("name: {{ env_var('N') }}\nretry_config:\n  retries: -1\n")
    with pytest.raises(ProjectFault) as caught:
        read_project(root, {"N": "mill"})
    assert [(f.file, f.line, f.key) for f in caught.value.faults] == [("metadata.yaml", 3, "retries")]
    with pytest.raises(ProjectFault) as caught:
        read_project(root, {})
    assert [(f.file, f.line, f.key) for f in caught.value.faults] == [
        ("metadata.yaml", 1, "name"),
        ("metadata.yaml", 3, "retries"),
    ]
    assert "environment variable N is not set" in caught.value.faults[0].message


def test_a_variable_that_is_not_set_does_no_harm_in_settings_that_are_not_read(root):
    """As in the metadata.yaml of every project that Mage makes."""
    (root / "metadata.yaml").write_text(
        "notification_config:\n  slack_config:\n    webhook_url: \"{{ env_var('MAGE_SLACK_WEBHOOK_URL') }}\"\n"
        "retry_config:\n  retries: 2\n  delay: {{ env_var('DELAY') }}\n"
    )
    assert read_project(root, {"DELAY": "3"}).defaults.retry.delay == 3
    with pytest.raises(ProjectFault) as caught:
        read_project(root, {})
    assert [(f.line, f.key) for f in caught.value.faults] == [(6, "delay")]


MAGE = """
name: etl
blocks:
- uuid: load/it
  type: data_loader
  language: null
  all_upstream_blocks_executed: true
  upstream_blocks: []
- {uuid: notes, type: markdown, language: markdown, upstream_blocks: [load/it]}
- uuid: shape
  type: transformer
  upstream_blocks: [notes, load/it]
- {uuid: again, type: transformer, replicated_block: shape, upstream_blocks: [shape]}
- {uuid: own, type: custom, upstream_blocks: [again, shape], configuration: {file_source: {path: shared/own.py}}}
- {uuid: inline, type: custom, content: "@custom\\ndef f(): ...\\n"}
- {uuid: only_if, type: conditional, upstream_blocks: [shape]}
conditionals:
- {uuid: maybe, type: conditional, upstream_blocks: [own]}
callbacks:
- {uuid: tell, type: callback, upstream_blocks: [load/it]}
widgets:
- {uuid: chart1, type: chart, upstream_blocks: [load/it]}
extensions: {great_expectations: {blocks: []}}
some_future_key: 1
variables: {day: 2021-01-02, at: 2021-01-02 03:04:05, n: 1.5}
"""


def test_the_shapes_of_mages_files_are_understood(root):
    project = written(
        root, MAGE, data_loaders__load__it="L", transformers__shape="S", shared__own="O", pipelines__p__only_if="I",
        conditionals__maybe="M", callbacks__tell="T",
    )  # fmt: skip
    pipeline = read_pipeline(project, "p")
    assert pipeline.type == "python"
    assert {b.uuid: (b.upstream, b.source.text) for b in pipeline.blocks} == {
        "load/it": ((), "L"),
        "shape": (("load/it",), "S"),
        "again": (("shape",), "S"),
        "own": (("again", "shape"), "O"),
        "inline": ((), "@custom\ndef f(): ...\n"),
    }
    assert [(b.uuid, b.upstream) for b in pipeline.conditionals] == [("only_if", ("shape",)), ("maybe", ("own",))]
    assert [(b.uuid, b.type) for b in pipeline.callbacks] == [("tell", BlockType.CALLBACK)]
    assert pipeline.variables == {"day": "2021-01-02", "at": {"$datetime": "2021-01-02T03:04:05"}, "n": 1.5}
    assert topological_order(pipeline)[-1] == "own"


def test_a_read_pipeline_survives_json_with_its_hash(root):
    pipeline = read_pipeline(written(root, ONE, custom__a="A"), "p")
    again = pipeline_from_json(json.loads(json.dumps(pipeline_to_json(pipeline))))
    assert again.version == pipeline.version
    (root / "custom/a.py").write_text("B")
    assert read_pipeline(read_project(root, {}), "p").version != pipeline.version


def test_what_a_newer_version_pinned_beyond_what_is_known_is_let_be(root):
    project = written(root, ONE, custom__a="@custom\ndef f(): pass\n")
    pinned = read_pipeline(project, "p")
    value = json.loads(json.dumps(pipeline_to_json(pinned)))
    for place in (
        value,
        value["limits"],
        value["blocks"][0],
        value["blocks"][0]["retry"],
        value["blocks"][0]["source"],
    ):
        place["of_a_later_version"] = 1
    assert pipeline_from_json(value).blocks == pinned.blocks


def test_the_folder_of_the_type_comes_before_the_pipelines_own(root):
    project = written(root, ONE, custom__a="typed", pipelines__p__a="beside")
    assert read_pipeline(project, "p").blocks[0].source.path == "custom/a.py"
    (root / "custom/a.py").unlink()
    assert read_pipeline(project, "p").blocks[0].source.text == "beside"


def test_policies_overlay_from_project_to_pipeline_to_block(root):
    (root / "metadata.yaml").write_text("retry_config: {retries: 1, delay: 2, max_delay: 9}\nisolation: run\n")
    project = written(
        root,
        "retry_config: {retries: 2, exponential_backoff: false}\nconcurrency_config: {block_run_limit: 3}\n"
        "allow_blocks_to_fail: true\nsettings: {timeout: 60}\nblocks:\n"
        "- {uuid: a, type: custom, timeout: 5, retry_config: {delay: 7, jitter: 0.5}, configuration: {memory_limit: 512MB}}\n"
        "- {uuid: b, type: custom, executor_config: {memory_limit: 1GiB}}\n",
        custom__a="", custom__b="",
    )  # fmt: skip
    pipeline = read_pipeline(project, "p")
    a, b = pipeline.blocks
    assert a.retry == RetryPolicy(count=2, delay=7.0, factor=1.0, cap=9.0, jitter=0.5)
    assert b.retry == RetryPolicy(count=2, delay=2, factor=1.0, cap=9)
    assert (a.timeout, a.memory_limit, b.memory_limit) == (5.0, 512_000_000, 1 << 30)
    assert (pipeline.isolation, pipeline.limits) == (Isolation.RUN, Limits(per_run=3))
    assert (pipeline.allow_blocks_to_fail, pipeline.timeout) == (True, 60.0)


BAD = [
    ("blocks:\n- uuid: a\n  type: [\n", 4, "not valid YAML"),
    ("name: {{ env_var('X') }}\nblocks: []\n", 1, ""),
    ("name: x\nvariables: !!python/object/apply:os.system [ls]\n", 2, "tag"),
    ("name: x\nvariables:\n  a: !thing 1\n", 3, "tag"),
    ("name: x\nblocks: *missing\n", 2, "alias"),
    ("name: x\nvariables:\n  a: &a [*a]\n", 3, "alias"),
    ("a: " + "[" * 100 + "]" * 100, 1, "deep"),
    ("name: x\nvariables:\n  n: .inf\n", 3, "cannot be kept"),
    ("- a\n", 1, "not a mapping"),
    ("name: x\nblocks: 3\n", 2, "not a list"),
    (ONE + "- 3\n", 4, "not a block"),
    (ONE + "- type: custom\n", 4, "no uuid"),
    (ONE + "- uuid: a\n  type: custom\n", 4, "line 2"),
    (ONE + "  upstream_blocks: [b]\n", 4, "unknown upstream block, b"),
    (ONE + "  upstream_blocks: b\n", 4, "not a list"),
    (ONE + "- uuid: b\n  type: ai\n", 5, "type ai"),
    (ONE + "  language: cobol\n", 4, "cobol"),
    (ONE + "  configuration: 1\n", 4, "not a mapping"),
    (ONE + "  timeout: soon\n", 4, "timeout"),
    (ONE + "  retry_config:\n    delay: x\n", 5, "delay"),
    (ONE + "  configuration:\n    memory_limit: lots\n", 5, "memory_limit"),
    (ONE + "- uuid: gone\n  type: data_loader\n", 4, "missing"),
    (ONE + "  configuration:\n    file_source:\n      path: ../../x.py\n", 6, "out of the project"),
    (ONE + "  configuration:\n    file_path: /etc/hostname\n", 5, "out of the project"),
    ("type: streaming\n" + ONE, 1, "streaming"),
    ("isolation: none\n" + ONE, 1, "isolation"),
    ("concurrency_config:\n  block_run_limit: 0\n" + ONE, 2, "block_run_limit"),
    ("blocks:\n- {uuid: a, type: custom, upstream_blocks: [c]}\n- {uuid: c, type: custom, upstream_blocks: [a]}\n", 2, "a -> c -> a"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "part"), BAD)
def test_a_bad_pipeline_is_told_by_file_and_line(root, text, line, part):
    found = fault(written(root, text, custom__a="", custom__c=""), part)
    assert (found.file, found.line, found.severity) == ("pipelines/p/metadata.yaml", line, Severity.ERROR)
    assert f"pipelines/p/metadata.yaml:{line}: error: " in str(found)


@pytest.mark.timeout(20)
def test_a_yaml_bomb_is_refused_before_it_is_built(root):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    found = fault(written(root, "\n".join(lines)), "aliases")
    assert found.line == 6


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["[" * 200_000, "{a: " * 100_000, "- " * 100_000, "a: &x " + "b" * 5_000_001])
def test_a_monstrous_file_is_refused_and_the_process_lives(root, text):
    assert fault(written(root, text)).severity is Severity.ERROR


def test_a_missing_file_tells_where_it_was_looked_for(root):
    found = fault(written(root, ONE), "missing")
    assert "custom/a.py, pipelines/p/a.py" in found.remedy


def test_a_link_out_of_the_project_is_refused(root, tmp_path):
    (tmp_path / "secret.py").write_text("x = 1")
    project = written(root, ONE)
    (root / "custom").mkdir()
    (root / "custom/a.py").symlink_to(tmp_path / "secret.py")
    assert fault(project, "out of the project").line == 2


def test_a_file_that_is_no_text_is_refused(root):
    project = written(root, ONE, custom__a="")
    (root / "custom/a.py").write_bytes(b"\xff\xfe")
    assert "UTF-8" in fault(project).message


def test_one_broken_pipeline_hides_no_other_and_is_still_listed(root):
    project = written(root, ONE + "- {uuid: b, type: ai, upstream_blocks: [a]}\n- {uuid: c, type: custom, upstream_blocks: [b]}\n", custom__a="", custom__c="")  # fmt: skip
    write_pipeline(root, "good", {"x": ()})
    found = read_project(root, {}).pipelines
    assert found["good"].uuid == "good"
    assert [f.key for f in found["p"]] == ["type"]
    assert [b.uuid for b in project.readings["p"].pipeline.blocks] == ["a", "c"]


def test_a_pipeline_that_is_not_there_is_told_with_those_that_are(root):
    write_pipeline(root, "good", {"x": ()})
    for uuid in ("bad", "../shop/pipelines/good", ""):
        with pytest.raises(UnknownPipeline, match="Pipelines here: good"):
            read_pipeline(read_project(root, {}), uuid)


@pytest.mark.timeout(60)
def test_five_thousand_blocks_are_read_in_linear_time(root):
    def seconds(count: int) -> float:
        blocks = {f"b{n}": (f"b{n - 1}",) if n else () for n in range(count)}
        folder = write_pipeline(root, f"long{count}", blocks)
        began = time.process_time()
        assert len(read_pipeline(read_project(root, {}), folder.name).blocks) == count
        return time.process_time() - began

    small, large = seconds(1000), seconds(5000)
    assert large < 5 * small * 2.5 + 0.5


def test_a_long_cycle_is_found_and_shown_in_short(root):
    write_pipeline(root, "p", {f"b{n}": (f"b{(n - 1) % 3000}",) for n in range(3000)})
    assert "..." in fault(read_project(root, {}), "cycle").message


GRAPHS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4).map(tuple), min_size=1
)


@given(GRAPHS)
def test_a_cycle_is_found_exactly_where_there_is_one(upstream):
    cycle = find_cycle(upstream)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(above in upstream[below] for below, above in pairwise(cycle))
        return
    done: set[str] = set()
    for _ in upstream:
        done |= {uuid for uuid, above in upstream.items() if all(a in done or a not in upstream for a in above)}
    assert done == set(upstream)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["blocks", "variables", "retry_config", "settings", "type", "uuid"]), VALUES))
def test_no_value_makes_reading_fail_in_any_other_way(tmp_path_factory, value):
    root = write_project(tmp_path_factory.mktemp("any"))
    project = written(root, yaml.safe_dump(value))
    found = project.pipelines["p"]
    if isinstance(found, Pipeline):
        json.dumps(pipeline_to_json(found), allow_nan=False)
    else:
        assert found
