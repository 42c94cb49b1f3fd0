"""What is stored or named to do harm: pickles in the record, names full of SQL, sources that change under a run."""

from __future__ import annotations

import asyncio
import os
import pickle

import pytest
from headrace.service import open_headrace

from tests.chaos.checker import faults
from tests.support.projects import write_pipeline, write_project

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


class Opens:
    """Unpickled, it makes a file that tells which process did it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (eval, (f"open({self.path!r}, 'w').write(str(__import__('os').getpid())) and None",))


@pytest.fixture
def root(tmp_path):
    return write_project(tmp_path / "project")


def opened(root, database_url):
    return open_headrace(root, environ={**os.environ, "HEADRACE_DATABASE_URL": database_url})


async def test_fault_42_a_pickle_in_the_record_is_opened_in_a_worker_alone(root, database_url, tmp_path):
    write_pipeline(root, "p", {"a": (), "b": ("a",)})
    trace = tmp_path / "trace"
    async with opened(root, database_url) as headrace:
        run = await headrace.create_run("p")
        await headrace.finished(run)
        await headrace.database.execute(
            "UPDATE headrace.output SET codec = 'pickle', content = $1 WHERE block = 'a'",
            pickle.dumps(Opens(str(trace))),
        )
        await headrace.show(run)
        _, parts = await headrace.output_parts(run, "a")
        assert [part async for part in parts]
        assert not trace.exists(), "looking at it runs nothing"
        again = await headrace.finished(await headrace.retry(run, from_block="b"))
        assert again.status == "completed"
        assert int(trace.read_text()) != os.getpid()


@pytest.mark.parametrize("name", ['"; drop table headrace.run; --', "it's $1", "flötenton-🎶"])
async def test_fault_37_names_are_data_and_never_sql(root, database_url, name):
    write_pipeline(root, name, {"a": ()})
    async with opened(root, database_url) as headrace:
        view = await headrace.finished(await headrace.create_run(name, variables={name: name}))
        assert (view.status, view.pipeline) == ("completed", name)
        assert [run.pipeline for run in await headrace.runs(pipeline=name)] == [name]
        async with headrace.database.connection() as connection:
            assert await faults(connection) == []


async def test_fault_43_a_source_that_is_edited_while_its_run_goes_on_changes_nothing_of_it(
    root, database_url, tmp_path
):
    gate = tmp_path / "gate"
    wait = f"import os, time\n@custom\ndef body():\n    while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
    folder = write_pipeline(
        root, "p", {"a": (), "b": ("a",)}, {"a": wait, "b": "@custom\ndef body(*args):\n    return 'old'\n"}
    )
    async with opened(root, database_url) as headrace:
        run = await headrace.create_run("p")
        (folder / "b.py").write_text("@custom\ndef body(*args):\n    raise ValueError('new')\n")
        (folder / "metadata.yaml").write_text("this: is no pipeline any more")
        gate.touch()
        async with asyncio.timeout(30):
            view = await headrace.finished(run)
        assert view.status == "completed", view.reason
