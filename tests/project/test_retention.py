"""How long records are kept is read from a project's and its pipelines' files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from headrace.domain.retention import Retention
from headrace.project.checking import check_project
from headrace.project.faults import ProjectFault
from headrace.project.reading import read_pipeline, read_project

from tests.support.projects import write_pipeline, write_project

DAY = 86400.0


def test_ages_and_sizes_are_read_and_a_pipeline_overrides_its_project(tmp_path: Path) -> None:
    write_project(tmp_path)
    own = {"retention": {"runs": "90d", "logs": "2 weeks", "events": 3600, "output_bytes": "2GB"}}
    (tmp_path / "metadata.yaml").write_text(yaml.safe_dump(own))
    write_pipeline(tmp_path, "p", {"b": []}, options={"retention": {"logs": "12h", "runs": None}})
    retention = read_project(tmp_path, {}).retention
    assert retention.project == Retention(90 * DAY, None, 14 * DAY, 3600.0, 2_000_000_000)
    assert retention.of("p") == Retention(None, None, 43200.0, 3600.0, 2_000_000_000)
    assert retention.longest_logs == 14 * DAY


def test_mages_own_keys_count(tmp_path: Path) -> None:
    write_project(tmp_path)
    given = {"variables_retention_period": "90d", "logging_config": {"retention_period": "15d"}}
    (tmp_path / "metadata.yaml").write_text(yaml.safe_dump(given))
    assert read_project(tmp_path, {}).retention.project == Retention(outputs=90 * DAY, logs=15 * DAY)


@pytest.mark.parametrize("age", ["soon", "-1d", 0, "5 fortnights", True])
def test_what_is_no_age_is_told_by_its_line(tmp_path: Path, age: object) -> None:
    write_project(tmp_path)
    write_pipeline(tmp_path, "p", {"b": []}, options={"retention": {"runs": age}})
    (fault,) = [fault for fault in check_project(tmp_path, {}) if fault.key == "retention"]
    assert fault.file == "pipelines/p/metadata.yaml"
    assert fault.line is not None
    assert "runs cannot be" in fault.message


def test_a_key_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    write_project(tmp_path)
    write_pipeline(tmp_path, "p", {"b": []}, options={"retention": {"run": "90d"}})
    with pytest.raises(ProjectFault, match="there is no key run"):
        read_pipeline(read_project(tmp_path, {}), "p")
