"""The version of a pipeline: a hash over its graph, its sources and its policies."""

from __future__ import annotations

import hashlib
import json

from headrace.domain.pipeline import Pipeline, pipeline_to_json


def pipeline_hash(pipeline: Pipeline) -> str:
    """sha256, hex, of everything that a run of the pipeline depends on."""
    text = json.dumps(pipeline_to_json(pipeline), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
