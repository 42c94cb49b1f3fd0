"""Waits for a page or file on the web to change: true once its ETag or date differs from when the sensor last fired."""

import hashlib
from pathlib import Path
from urllib.request import Request, urlopen

from headrace import sensor


@sensor
def http_changed(*args, **kwargs) -> bool:
    """Looks at the pipeline's variable `url`; what was seen last is kept under .headrace/ in the project's folder."""
    url = kwargs["url"]
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is not an address on the web")
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    kept = Path(kwargs["repo_path"], ".headrace", "sensors", f"{name}.seen")

    with urlopen(Request(url, method="HEAD"), timeout=30) as answer:  # noqa: S310 - its scheme is checked above
        headers = answer.headers
        seen = headers.get("ETag") or headers.get("Last-Modified") or headers.get("Content-Length") or ""

    if kept.is_file() and kept.read_text() == seen:
        return False
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(seen)
    return True
