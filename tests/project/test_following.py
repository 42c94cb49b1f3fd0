"""A followed project gives the same value until a file changes, and the new one from then on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from headrace.project.faults import ProjectFault, UnknownPipeline
from headrace.project.following import FollowedProject

from tests.support.projects import write_pipeline, write_project

ONE = "@custom\ndef one(*args, **kwargs):\n    return 1\n"


@pytest.fixture
def followed(tmp_path: Path) -> FollowedProject:
    write_project(tmp_path)
    write_pipeline(tmp_path, "shop", {"one": []}, {"one": ONE})
    age(tmp_path)
    return FollowedProject(tmp_path, {})


def age(root: Path) -> None:
    """Let every file be some time old; what was written just now is not trusted to be all of it."""
    past = time.time_ns() - 10**9
    for path in root.rglob("*"):
        os.utime(path, ns=(past, past))
    time.sleep(0.05)  # the time of a file's inode cannot be set


def test_nothing_is_read_again_while_no_file_changes(followed: FollowedProject):
    assert followed.pipeline("shop") is followed.pipeline("shop")
    assert followed.project() is followed.project()


def test_a_changed_block_is_seen_at_once(followed: FollowedProject):
    before = followed.pipeline("shop")
    (followed.root / "pipelines" / "shop" / "one.py").write_text(ONE.replace("1", "2"))
    after = followed.pipeline("shop")
    assert (before.blocks[0].source.text, after.blocks[0].source.text) == (ONE, ONE.replace("1", "2"))
    age(followed.root)
    assert followed.pipeline("shop") is followed.pipeline("shop")


def test_a_file_that_comes_to_stand_before_the_one_that_was_found_is_seen(followed: FollowedProject):
    followed.pipeline("shop")
    (followed.root / "custom").mkdir()
    (followed.root / "custom" / "one.py").write_text(ONE.replace("1", "3"))
    assert "3" in followed.pipeline("shop").blocks[0].source.text


def test_a_projects_settings_count_for_its_pipelines_at_once(followed: FollowedProject):
    assert followed.pipeline("shop").blocks[0].retry.count == 0
    (followed.root / "metadata.yaml").write_text("retry_config:\n  retries: 2\n")
    assert followed.pipeline("shop").blocks[0].retry.count == 2


def test_a_pipeline_that_breaks_is_told_and_comes_back(followed: FollowedProject):
    followed.pipeline("shop")
    path = followed.root / "pipelines" / "shop" / "one.py"
    path.rename(path.with_suffix(".away"))
    with pytest.raises(ProjectFault, match="missing"):
        followed.pipeline("shop")
    path.with_suffix(".away").rename(path)
    assert followed.pipeline("shop").blocks[0].source.text == ONE
    with pytest.raises(UnknownPipeline):
        followed.pipeline("other")
