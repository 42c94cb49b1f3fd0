"""The image and its compose file: what they copy is there and is enough, and they promise what they should."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from headrace.project.checking import check_project
from headrace.project.dotenv import read_dotenv

from tests.packaging.test_wheel import build, files_in
from tests.support.checkout import ROOT
from tests.support.postgres import server_environ, server_home


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    @property
    def copied(self) -> tuple[list[str], str]:
        """Sources in the checkout, and the target, of a COPY."""
        words = [word for word in self.text.split() if not word.startswith("--")]
        return words[:-1], words[-1]


def stages() -> list[list[Instruction]]:
    """The Dockerfile's instructions, stage by stage."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    found: list[list[Instruction]] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, rest))
    return found


def admitted(name: str) -> bool:
    """Whether .dockerignore, a list of exceptions to `*`, lets a file of the checkout's root into the build."""
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    return any(line.startswith("!") and fnmatch.fnmatch(name, line[1:]) for line in lines)


def copy_into(folder: Path, stage: list[Instruction]) -> None:
    """Do what a stage's COPY instructions do with files of the checkout."""
    ignored = shutil.ignore_patterns("__pycache__")
    for instruction in stage:
        if instruction.name != "COPY" or "--from=" in instruction.text:
            continue
        sources, target = instruction.copied
        for source in sources:
            assert admitted(source), f".dockerignore keeps {source} out"
            place = folder / target.lstrip("/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=ignored)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)


def test_what_the_first_stage_copies_is_enough_to_build_the_whole_wheel(tmp_path: Path):
    copy_into(tmp_path / "src", stages()[0])
    assert (tmp_path / "src" / "constraints.txt").is_file()
    assert files_in(build(tmp_path / "src", tmp_path / "thin")) == files_in(build(ROOT, tmp_path / "whole"))


def test_what_the_last_stage_copies_is_a_project_without_faults(tmp_path: Path):
    copy_into(tmp_path, stages()[-1])
    assert check_project(tmp_path / "project", {}) == []


def test_the_image_runs_as_an_ordinary_user_and_has_the_port():
    last = {found.name: found.text for found in stages()[-1]}
    assert len(stages()) > 1
    assert int(last["USER"]) > 0
    assert last["EXPOSE"] == "6789"


def words(text: str) -> list[str]:
    """The command in an instruction, as a list of words."""
    return json.loads(text[text.index("[") :])


def test_the_image_serves_its_project_and_its_health_check_sees_that(tmp_path: Path):
    """The commands of the image, on another port and folder: sick before the service is there, well when it is ready."""
    copy_into(tmp_path, stages()[-1])
    last = {found.name: found.text for found in stages()[-1]}
    scripts = Path(sysconfig.get_path("scripts"))
    port = str(free_port())
    start = [str(scripts / "headrace"), *words(last["CMD"])[1:], "--port", port]
    start[start.index("/project")] = str(tmp_path / "project")
    look = [sys.executable, *words(last["HEALTHCHECK"])[1:]]
    look[-1] = look[-1].replace(":6789/", f":{port}/")
    with server_home() as home:
        environ = {**server_environ(home), "HEADRACE_API_TOKEN": "t" * 32}
        assert subprocess.run(look, env=environ, capture_output=True, check=False).returncode == 1
        with subprocess.Popen(start, env=environ, stderr=subprocess.PIPE, text=True) as service:
            try:
                assert service.stderr is not None
                assert any("serving: ready" in line for line in service.stderr)
                subprocess.run(look, env=environ, check=True, timeout=20)
            finally:
                service.terminate()
                service.communicate(timeout=40)
        assert service.returncode == 0


def test_the_image_does_not_serve_the_network_without_a_token(tmp_path: Path):
    copy_into(tmp_path, stages()[-1])
    start = [str(Path(sysconfig.get_path("scripts")) / "headrace"), "start", str(tmp_path / "project"), "--port", "0"]
    with server_home() as home:
        environ = {**server_environ(home), "HEADRACE_API_TOKEN": ""}
        told = subprocess.run(
            [*start, "--host", "0.0.0.0"], env=environ, capture_output=True, text=True, timeout=60, check=False
        )
    assert told.returncode != 0
    assert "HEADRACE_API_TOKEN" in told.stderr


def test_what_compose_starts_makes_a_token_prints_it_once_and_keeps_it(tmp_path: Path):
    """The commands of the course, `dev.env` unchanged: rename it to .env, build, up."""
    copy_into(tmp_path, stages()[-1])
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    given, _ = read_dotenv((ROOT / "dev.env").read_text())
    assert given["HEADRACE_API_TOKEN"] == ""
    assert "HEADRACE_API_TOKEN" not in services["headrace"]["environment"]
    assert "headrace:/var/lib/headrace" in services["headrace"]["volumes"]
    start = services["headrace"]["command"]
    assert start[:-1] == words({found.name: found.text for found in stages()[-1]}["CMD"])
    command = [str(Path(sysconfig.get_path("scripts")) / "headrace"), *start[1:], "--port", "0"]
    command[command.index("/project")] = str(tmp_path / "project")
    with server_home() as home:
        environ = {**server_environ(home), "HEADRACE_API_TOKEN": ""}
        first, second = (told_about_its_token(command, environ) for _ in range(2))
    assert re.search(r"token: \S{32,} \(kept in", first)
    assert re.fullmatch(r"token: in \S+", second)


def told_about_its_token(command: list[str], environ: dict[str, str]) -> str:
    """What a service says of its token before it is ready."""
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=environ, text=True, **piped) as service:
        assert service.stdout is not None
        said = []
        for line in service.stdout:
            said.append(line)
            if "serving: ready" in line:
                break
        service.terminate()
        service.communicate(timeout=40)
    assert service.returncode == 0, said
    return next(line[line.index("token: ") :].strip() for line in said if "token: " in line)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


@pytest.mark.may_skip
def test_hadolint_finds_nothing():
    linter = Path(sysconfig.get_path("scripts")) / "hadolint"
    if not linter.exists():
        pytest.skip(f"no wheel of hadolint for {sys.platform}")
    told = subprocess.run([linter, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout
    assert told.stdout == ""


def test_the_compose_file_needs_no_variable_that_the_template_lacks():
    text = (ROOT / "compose.yaml").read_text()
    given, faults = read_dotenv((ROOT / "dev.env").read_text())
    assert not faults
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", text)) <= set(given)


def test_the_compose_file_joins_the_image_to_a_postgres_that_keeps_its_data():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    given, _ = read_dotenv((ROOT / "dev.env").read_text())
    assert services["headrace"]["ports"] == ["127.0.0.1:6789:6789"]
    assert services["headrace"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["headrace"]["environment"]["POSTGRES_HOST"] == given["POSTGRES_HOST"] == "postgres"
    assert services["headrace"]["environment"]["POSTGRES_PORT"] == given["POSTGRES_PORT"]
    assert services["headrace"]["env_file"] == ".env"
    assert re.fullmatch(r"postgres:1[5-8]", services["postgres"]["image"])
    assert services["postgres"]["volumes"]
