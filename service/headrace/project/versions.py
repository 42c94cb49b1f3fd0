"""The version of a pipeline: a hash of everything that is pinned for a run."""

from __future__ import annotations

import hashlib
import json

from headrace.domain.pipeline import Pipeline, pipeline_to_json


def pipeline_hash(pipeline: Pipeline) -> str:
    """SHA-256, in hex, of the pipeline's canonical JSON: graph, sources and policies."""
    text = json.dumps(pipeline_to_json(pipeline), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
