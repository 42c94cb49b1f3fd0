"""The commands that drive runs, in pipes and in a terminal: what they show, what they leave behind, how they end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest

from tests.support.projects import write_pipeline
from tests.support.shell import CTRL_C, SECONDS, Shell
from tests.support.workers import is_alive, wait_until

NOTES_ITS_PID = "import os, pathlib, time, signal\npathlib.Path('{name}.pid').write_text(str(os.getpid()))\n"
SLEEPS = NOTES_ITS_PID + "@custom\ndef sleep(*args):\n    print('asleep', flush=True)\n    time.sleep(600)\n"
STUBBORN = "@custom\ndef stay(*args):\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    print('here', flush=True)\n    while True:\n        time.sleep(600)\n"
EXPORTS = """from headrace.io import ConfigFileLoader, Postgres
from headrace import get_repo_path
import pandas as pd

@data_exporter
def export(frame, other, **kwargs):
    with Postgres.with_config(ConfigFileLoader(f"{get_repo_path()}/io_config.yaml", "dev")) as database:
        database.export(frame, "mill", "Flour", index=False, if_exists="replace")
"""
CONNECTIONS = "dev:\n" + "".join(
    f"  POSTGRES_{part}: {{{{ env_var('POSTGRES_{part}') }}}}\n" for part in ("DBNAME", "SCHEMA", "USER", "PASSWORD", "HOST", "PORT")
)  # fmt: skip
READY = """import pathlib, time
@custom
def wait(*args):
    pathlib.Path('waits.pid').touch()
    for turn in range(600):
        print('turn', turn, flush=True)
        if pathlib.Path('go').exists():
            return turn
        time.sleep(0.1)
"""


@pytest.fixture(scope="module", autouse=True)
def pipelines(headrace: Shell) -> None:
    project = headrace.project
    (project / "io_config.yaml").write_text(CONNECTIONS)
    load = "import pandas as pd\n@data_loader\ndef load(**kwargs):\n    return pd.DataFrame({'n': range(kwargs['rows'])})\n"
    total = {"data_provider": "postgres", "data_provider_profile": "dev", "data_provider_schema": "mill",
             "data_provider_table": "total", "export_write_policy": "replace"}  # fmt: skip
    folder = write_pipeline(
        project, "flour",
        {"load": (), "left": ("load",), "right": ("load",), "export": ("left", "right"), "total": ("export",)},
        {"load": load, "left": "@custom\ndef left(f):\n    return f\n",
         "right": "@custom\ndef right(f):\n    return f\n", "export": EXPORTS},
        types={"load": "data_loader", "export": "data_exporter", "total": "transformer"},
        options={"variables": {"rows": 3}}, block_options={"total": {"language": "sql", "configuration": total}},
    )  # fmt: skip
    (folder / "total.py").unlink()
    (folder / "total.sql").write_text("SELECT count(*) AS rows_there FROM mill.flour\n")
    write_pipeline(project, "bad", {"a": (), "b": ("a",)}, {"b": "@custom\ndef b(a):\n    return a / 0\n"})
    write_pipeline(project, "sleeps", {"a": (), "b": ("a",)}, {"b": SLEEPS.format(name="sleeps")})
    write_pipeline(project, "stubborn", {"a": ()}, {"a": NOTES_ITS_PID.format(name="stubborn") + STUBBORN})
    write_pipeline(project, "waits", {"a": ()}, {"a": READY})


def worker_of(headrace: Shell, name: str) -> int:
    return int((headrace.project / f"{name}.pid").read_text())


def gone(pid: int) -> Callable[[], bool]:
    return lambda: not is_alive(pid)


def test_a_run_tells_each_change_in_a_line_and_then_where_to_look(headrace):
    ended = headrace("run", ".", "flour", "--var", "rows=7", code=0)
    assert ended.err == ""
    changes, _, pointers = ended.out.partition("\nWhere to look\n")
    lines = changes.splitlines()
    run = lines[0].split()[1]
    assert lines[0] == f"run {run} of flour"
    assert lines[-1].startswith(f"run {run} of flour: completed (")
    assert any(line.startswith("load: completed (") and line.endswith("7 rows)") for line in lines)
    flour, total, output, logs = (line.split(None, 1)[1] for line in pointers.splitlines())
    assert (output, logs) == (f"headrace output {run} total", f"headrace logs {run}")
    assert flour == "headrace db psql --profile dev -c 'TABLE mill.flour LIMIT 10'"
    exported, counted = headrace.each(flour, total, code=0)
    assert "(7 rows)" in exported.out
    assert counted.lines[2].strip() == "7"


def test_a_run_as_json_writes_one_value_and_nothing_else(headrace):
    done = headrace("run", ".", "flour", "--json", "--var", "rows=2", "--var", "name=text", "--var", "odd=NaN", code=0)
    assert done.err == ""
    assert (done.json["status"], done.json["variables"]) == ("completed", {"rows": 2, "name": "text", "odd": "NaN"})
    assert [block["rows"] for block in done.json["blocks"]][:3] == [2, 2, 2]
    bad = headrace("run", ".", "bad", "--json", code=1)
    assert bad.err == ""
    assert bad.json["error"]["type"] == "ZeroDivisionError"


def test_a_failed_run_tells_file_and_line_and_goes_on_from_there_once_it_is_mended(headrace):
    source = headrace.project / "pipelines" / "bad" / "b.py"
    ended = headrace("run", ".", "bad", code=1)
    assert f'File "{source}", line 3, in b' in ended.err
    assert ended.err.endswith("ZeroDivisionError: division by zero\n")
    again = ended.out.splitlines()[-1].split(None, 2)[2]
    broken = source.read_text()
    source.write_text(broken.replace("/ 0", "/ 1"))
    mended = headrace.sh(again, code=0).out
    source.write_text(broken)
    assert "a: completed (kept from run" in mended
    assert "a: running" not in mended


WRONG = {
    "run . flower": "error[unknown-pipeline]: There is no pipeline flower in ",
    "run . flour --block laod": "error[unknown-block]: Pipeline flour has no block laod.\n→ Did you mean load?",
    "run . flour --block export": "error[no-stored-output]",
    "run . flour --upstream": "--upstream: it needs --block",
    "run . flour --var rows": "--var: 'rows' is not K=V",
    "run /nowhere flour": "error[no-project]: /nowhere is not a project",
    "retry 999": "error[unknown-run]",
    "run": "Missing argument 'PROJECT'",
}


def test_what_cannot_be_run_is_told_before_a_run_is_made(headrace):
    before = headrace("runs", "--json", code=0).json
    write_pipeline(headrace.project, "never", {"load": (), "export": ("load",)})
    commands = [f"headrace {words}".replace("flour --block export", "never --block export") for words in WRONG]
    for told, ended in zip(WRONG.values(), headrace.each(*commands, code=2), strict=True):
        assert told in ended.err.replace("Invalid value for ", "")
        assert ended.out == ""
    assert headrace("runs", "--json", code=0).json == before


def test_without_a_database_nothing_is_run(headrace):
    away = headrace("run", ".", "flour", code=3, HEADRACE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert away.err.startswith("error[database-unavailable]: The database cannot be reached: ")
    assert "HEADRACE_DATABASE_URL" in away.err
    assert away.out == ""


def test_a_terminal_shows_a_tree_that_moves_and_stays_at_the_end(headrace):
    with headrace.terminal("run", ".", "flour") as terminal:
        assert terminal.ended() == 0
    assert "running" in terminal.text
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l"), "the cursor is shown again"
    last = terminal.text[terminal.text.rindex("flour run") :].splitlines()
    assert "✔ completed" in last[0]
    assert [line.split("  ")[0] for line in last[1:6]] == ["✔ load", "├ ✔ left", "├ ✔ right", "✔ export", "✔ total"]
    assert last[7] == "Where to look"


def test_beside_json_the_tree_goes_to_standard_error(headrace):
    with headrace.terminal("run", ".", "flour", "--json") as both:
        assert both.ended() == 0
    assert json.loads(both.text[both.text.index("{\n") :])["status"] == "completed"
    assert "Where to look" not in both.text


def test_ctrl_c_cancels_the_run_and_its_blocks(headrace):
    with headrace.terminal("run", ".", "sleeps") as terminal:
        terminal.until("● b")
        wait_until((headrace.project / "sleeps.pid").exists, SECONDS)
        terminal.press(CTRL_C)
        assert terminal.ended() == 130
    assert "⊘ cancelled" in terminal.text
    assert "cancelled on request" in terminal.text
    assert "\x1b[?25h" in terminal.raw
    assert wait_until(gone(worker_of(headrace, "sleeps")), 10)
    assert headrace("runs", "--limit", "1", "--json", code=0).json[0]["status"] == "cancelled"


def test_a_second_ctrl_c_leaves_at_once_and_says_what_becomes_of_the_run(headrace):
    with headrace.terminal("run", ".", "stubborn") as terminal:
        terminal.until("● a")
        assert wait_until((headrace.project / "stubborn.pid").exists, SECONDS)
        terminal.press(CTRL_C)
        terminal.until("cancelling… (Ctrl-C again leaves at once)")
        terminal.press(CTRL_C)
        assert terminal.ended() == 130
    run = terminal.text.split("stubborn run ")[1].split()[0]
    told = " ".join(terminal.text.split())
    assert f"Left run {run} as it is: `headrace resume` goes on with it, `headrace cancel {run}` ends it." in told
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l"), "the cursor is shown again"
    assert wait_until(gone(worker_of(headrace, "stubborn")), 10)
    expire_leases(headrace)
    assert (
        "its service stopped" in headrace("why", run, code=0).out or "cancelled on request" in headrace("show", run).out
    )
    assert headrace("cancel", run, "--json", code=0).json["status"] == "cancelled"
    assert headrace("cancel", run, code=0).err == ""


def expire_leases(headrace: Shell) -> None:
    """Let the leases of services that were killed run out now: nobody else is at work on this database."""
    sql = "UPDATE headrace.service SET lease_until = now() - interval '1 s'"
    headrace("db", "psql", "-c", sql, code=0)


def test_sigterm_cancels_too(headrace):
    (headrace.project / "sleeps.pid").unlink(missing_ok=True)
    with headrace.started("run", ".", "sleeps") as process:
        assert wait_until((headrace.project / "sleeps.pid").exists, SECONDS)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.startswith("cancelling… (Ctrl-C again leaves at once)\n")
    assert "b: cancelled" in out


def test_a_run_that_another_command_cancels_has_failed_for_the_one_that_follows_it(headrace):
    (headrace.project / "sleeps.pid").unlink(missing_ok=True)
    with headrace.started("run", ".", "sleeps") as process:
        run = process.stdout.readline().split()[1]
        assert wait_until((headrace.project / "sleeps.pid").exists, SECONDS)
        told = headrace("cancel", run, code=0)
        assert f"run {run} of sleeps: cancelled" in told.out
        process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert headrace("retry", run, "--from", "nowhere", code=2).err.startswith("error[unknown-block]")


def test_a_run_goes_on_without_a_reader_and_without_its_process(headrace):
    go = headrace.project / "go"
    go.unlink(missing_ok=True)
    with headrace.started("run", ".", "waits") as process:
        run = process.stdout.readline().split()[1]
        process.stdout.close()
        with headrace.started("logs", run, "--follow") as follower:
            assert follower.stdout.readline().endswith("a turn 0\n")
            process.kill()
            process.wait(SECONDS)
            expire_leases(headrace)
            go.touch()
            resumed = headrace("resume", code=0)
            assert f"run {run} of waits: completed" in resumed.out
            assert follower.wait(SECONDS) == 0, "the log has an end once the run has"
    assert headrace("resume", code=0).out == "Every run has ended.\n"


def test_a_reader_that_leaves_does_not_end_the_run(headrace):
    ended = headrace.sh("(headrace run . flour; echo $? >&2) | head -1")
    assert ended.out.startswith("run ")
    assert ended.err == "0\n"
    assert headrace("runs", "--limit", "1", "--json", code=0).json[0]["status"] == "completed"


def test_a_run_outlives_its_database_server(headrace):
    go, started = headrace.project / "go", headrace.project / "waits.pid"
    go.unlink(missing_ok=True)
    started.unlink(missing_ok=True)
    server = int((headrace.project.parent / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    with headrace.started("run", ".", "waits") as process:
        assert wait_until(started.exists, SECONDS)
        os.kill(server, signal.SIGKILL)
        assert wait_until(gone(server), 10)
        go.touch()
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert "of waits: completed" in out
    assert "warning: " in err
    assert "Traceback" not in err
