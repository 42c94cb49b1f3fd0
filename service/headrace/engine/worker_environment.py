"""The environment that workers see: the service's own, without anything that is ours to keep."""

from __future__ import annotations

from collections.abc import Mapping

KEPT = frozenset({"HEADRACE_SAMPLES_URL"})
"""Our own variables that blocks may see."""
SECRETS = ("HEADRACE_DATABASE_URL",)
_ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # the template forks: it must have one thread
}


def worker_environ(environ: Mapping[str, str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """`environ` without HEADRACE_* and without the database's address under any other name, with `extra` on top.

    Numeric libraries get one thread a worker unless the environment says otherwise: workers are the parallelism.
    """
    secrets = {environ[name] for name in SECRETS if environ.get(name)}
    kept = {
        name: value
        for name, value in environ.items()
        if (name in KEPT or not name.startswith("HEADRACE_")) and not any(secret in value for secret in secrets)
    }
    return {**_ONE_THREAD, **kept, **(extra or {})}
