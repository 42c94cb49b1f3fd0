"""Reads stored outputs as a test wants them."""

from __future__ import annotations

import io

import pandas as pd
import pyarrow as pa
from headrace.engine.views import RunView
from headrace.service import Headrace


async def frame_of(headrace: Headrace, view: RunView, block: str) -> pd.DataFrame:
    """The frame that a block gave."""
    facts, parts = await headrace.output_parts(view.id, block)
    assert facts.codec == "arrow", facts
    packed = b"".join([part async for part in parts])
    with pa.ipc.open_file(io.BytesIO(packed)) as file:
        return file.read_pandas()
