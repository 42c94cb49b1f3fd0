"""A run's outputs on this machine: found again in the database, bounded in memory, and files that fail are told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from headrace.engine import shelf as shelving
from headrace.engine.shelf import Shelf, new_outputs
from headrace.store.errors import OutputFileFault
from headrace.store.outputs import drop_orphan_blobs, store_blob
from headrace.worker.protocol import Codec, Output


@pytest.fixture
def shelf(database, tmp_path):
    return Shelf(database, 1, tmp_path / "work")


async def stored(shelf, block, outputs):
    return new_outputs(block, 1, outputs, await shelf.store(outputs))


async def recorded(database, shelf, tmp_path, block, content):
    """A large output of a block, recorded in the database alone."""
    path = tmp_path / f"{block}.out"
    path.write_bytes(content)
    (new,) = await stored(shelf, block, [Output(0, Codec.PICKLE, len(content), path=str(path))])
    await database.execute(
        "INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, blob) "
        "VALUES (1, $1, 0, 1, 'pickle', $2, $3)",
        block, len(content), new.blob,
    )  # fmt: skip
    path.unlink()


async def test_blocks_that_ask_at_once_for_an_output_fetch_it_once(database, shelf, tmp_path, monkeypatch):
    content = bytes(range(256)) * 40_000
    await recorded(database, shelf, tmp_path, "a", content)
    fetched = []

    async def counted(*arguments):
        fetched.append(arguments)
        await fetch_blob(*arguments)

    fetch_blob = shelving.fetch_blob
    monkeypatch.setattr(shelving, "fetch_blob", counted)
    found = await asyncio.gather(*(shelf.refs(["a"]) for _ in range(3)))
    assert len(fetched) == 1
    path = found[0]["a"][0].path
    assert Path(path).read_bytes() == content
    assert {refs["a"][0].path for refs in found} == {path}


async def test_small_outputs_leave_memory_and_are_found_in_the_database(database, shelf, tmp_path):
    shelf.most_inline = 1000
    await recorded(database, shelf, tmp_path, "large", b"x" * 100)
    large = await shelf.refs(["large"])
    for number in range(10):
        block = f"b{number}"
        shelf.put(block, [Output(0, Codec.JSON, 400, inline=b"1" * 400)])
        await database.execute(
            "INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, content) "
            "VALUES (1, $1, 0, 1, 'json', 400, $2)",
            block, b"1" * 400,
        )  # fmt: skip
    assert len(shelf._refs) <= 3
    assert (await shelf.refs(["b0"]))["b0"][0].inline == b"1" * 400
    assert await shelf.refs(["large"]) == large, "where files lie is never forgotten"


async def test_a_file_that_cannot_be_read_is_told_and_is_no_fault_of_the_database(shelf, tmp_path):
    gone = Output(0, Codec.ARROW, 10, path=str(tmp_path / "gone"))
    with pytest.raises(OutputFileFault, match="No such file"):
        await shelf.store([gone])


async def test_a_file_that_cannot_be_written_is_told_and_leaves_nothing_behind(database, shelf, tmp_path):
    await recorded(database, shelf, tmp_path, "a", b"x")
    shelf.folder.write_text("in the way")
    with pytest.raises(OutputFileFault, match="Not a directory"):
        await shelf.refs(["a"])
    shelf.folder.unlink()
    assert len(await shelf.refs(["a"])) == 1


async def test_its_folder_is_made_with_the_first_file_and_goes_with_the_run(database, shelf, tmp_path):
    await recorded(database, shelf, tmp_path, "a", b"x")
    assert not shelf.folder.exists()
    path = Path((await shelf.refs(["a"]))["a"][0].path)
    assert path.parent == shelf.folder
    assert shelf.folder.stat().st_mode & 0o777 == 0o700
    await shelf.close()
    assert not shelf.folder.exists()
    await shelf.close()


async def test_only_outputs_in_files_become_blobs(database, shelf, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"large")
    outputs = [Output(0, Codec.JSON, 1, inline=b"1"), Output(1, Codec.PICKLE, 5, path=str(path))]
    small, large = await stored(shelf, "a", outputs)
    assert (small.content, small.blob, large.content) == (b"1", None, None)
    assert await database.fetchval("SELECT content FROM headrace.blob_part WHERE blob = $1", large.blob) == b"large"


async def test_blobs_without_an_output_are_dropped_once_their_run_is_over_and_they_are_old(database, tmp_path):
    project = await database.fetchval("INSERT INTO headrace.project (path, name) VALUES ('/p', 'p') RETURNING id")
    await database.execute("INSERT INTO headrace.pipeline_version (hash, pipeline, definition) VALUES ('h', 'p', '{}')")
    run = await database.fetchval(
        "INSERT INTO headrace.run (project_id, pipeline, version) VALUES ($1, 'p', 'h') RETURNING id", project
    )
    blobs = []
    for number, of in enumerate((run + 1, run, run + 1)):
        path = tmp_path / f"{number}"
        path.write_bytes(b"%d" % number * 9_000_000)
        blobs.append(await store_blob(database, of, path))
    kept, live, _ = blobs
    await database.execute(
        "INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, blob) "
        "VALUES ($1, 'a', 0, 1, 'pickle', 9000000, $2)",
        run + 1, kept,
    )  # fmt: skip
    assert await drop_orphan_blobs(database, older_than=3600) == 0
    assert await drop_orphan_blobs(database, older_than=0) == 1
    left = {row["blob"] for row in await database.fetch("SELECT DISTINCT blob FROM headrace.blob_part")}
    assert left == {kept, live}


async def test_identical_outputs_are_stored_once(database, tmp_path):
    paths = [tmp_path / name for name in ("one", "two", "other")]
    for path, content in zip(paths, (b"1", b"1", b"2"), strict=True):
        path.write_bytes(content * 5_000_000)
    one, two, other = [await store_blob(database, run, path) for run, path in enumerate(paths, start=1)]
    assert one == two != other
    assert await database.fetchval("SELECT sum(length(content)) FROM headrace.blob_part") == 10_000_000
    assert await database.fetchval("SELECT run_id FROM headrace.blob WHERE id = $1", one) == 2
    again = await asyncio.gather(*(store_blob(database, 7, paths[0]) for _ in range(5)))
    assert set(again) == {one}
