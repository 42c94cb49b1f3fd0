"""The YAML on the pages on triggers, limits and backfills is read as it stands, without a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from headrace.domain.limits import RunLimits
from headrace.domain.pipeline import Limits
from headrace.project.checking import check_project
from headrace.project.reading import read_pipeline, read_project
from headrace.project.triggers import read_triggers

from tests.support.checkout import ROOT
from tests.support.documents import code_in
from tests.support.projects import write_pipeline, write_project

DOCS = ROOT / "docs"
LISTED = {
    f"{page}:{code.line}": code.text
    for page in ("triggers.md", "backfills.md", "webhooks.md", "schedules.md", "sensors.md")
    if (DOCS / page).exists()
    for code in code_in(DOCS / page)
    if code.language == "yaml" and code.text.startswith("triggers:")
}


@pytest.mark.parametrize("text", LISTED.values(), ids=list(LISTED))
def test_triggers_on_the_pages_are_read_without_a_fault(tmp_path: Path, text: str) -> None:
    write_project(tmp_path)
    folder = write_pipeline(tmp_path, "p", {"b": []})
    write_pipeline(tmp_path, "import", {"b": []})
    (tmp_path / "sensors").mkdir(exist_ok=True)
    (tmp_path / "sensors" / "new_orders.py").touch()  # what the pages' triggers follow
    (folder / "triggers.yaml").write_text(text)
    environ = {"GITHUB_SECRET": "s", "STRIPE_SECRET": "s", "SLACK_SECRET": "s", "HOOK_SECRET": "s"}
    reading = read_triggers(tmp_path, "p", environ)
    assert reading.faults == ()
    assert len(reading.triggers) == len(yaml.safe_load(text)["triggers"])


def test_the_limits_on_the_page_are_those_that_count(tmp_path: Path) -> None:
    limits, pools, blocks = [
        yaml.safe_load(code.text) for code in code_in(DOCS / "limits.md") if code.language == "yaml"
    ]
    write_project(tmp_path)
    (tmp_path / "metadata.yaml").write_text(yaml.safe_dump(pools))
    options = {block["uuid"]: {key: block[key] for key in ("pool",)} for block in blocks["blocks"]}
    types = {block["uuid"]: block["type"] for block in blocks["blocks"]}
    write_pipeline(
        tmp_path, "p", {uuid: [] for uuid in options}, types=types, options=limits, block_options=options,
        default="@transformer\n@data_loader\ndef f(*args):\n    return 1\n",
    )  # fmt: skip
    assert [fault for fault in check_project(tmp_path, {}) if "pool" in fault.message] == []
    pipeline = read_pipeline(read_project(tmp_path, {}), "p")
    assert pipeline.limits == Limits(per_run=8, per_pipeline=16)
    assert pipeline.run_limits == RunLimits(runs=4, per_trigger=2, key="{{ customer }}", per_key=1)
    assert pipeline.by_uuid["train"].pools == {"warehouse": 2, "gpu": 1}


def test_the_retention_on_the_page_is_read(tmp_path: Path) -> None:
    (text,) = [code.text for code in code_in(DOCS / "backfills.md") if code.text.startswith("retention:")]
    write_project(tmp_path)
    (tmp_path / "metadata.yaml").write_text(text)
    assert check_project(tmp_path, {}) == []
    assert read_project(tmp_path, {}).retention.project.output_bytes == 50_000_000_000
