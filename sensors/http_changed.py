"""Waits for a page or file on the web to change: true once it differs from what it was when this sensor last fired.

It fires the first time too. How often it looks is the block's `configuration: {poll_interval: 10}`, in seconds.
"""

import hashlib
from pathlib import Path
from urllib.request import Request, urlopen

from headrace import sensor

TELLING = ("ETag", "Last-Modified", "Content-Length")
"""Headers that tell one version of a page from another, the best one first."""


@sensor
def http_changed(*args, **kwargs) -> bool:
    """Looks at the pipeline's variable `url`; what was seen last is kept under .headrace/ in the project's folder."""
    seen = version_of(kwargs["url"])
    watched = f"{kwargs['pipeline_uuid']} {kwargs['block_uuid']} {kwargs['url']}"
    kept = Path(kwargs["repo_path"], ".headrace", "sensors", hashlib.sha256(watched.encode()).hexdigest()[:16])
    if kept.is_file() and kept.read_text() == seen:
        return False
    print(f"{kwargs['url']} is now {seen}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(seen)
    return True


def version_of(url: str) -> str:
    """What a web server says of the version of a page, without fetching the page."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is not an address on the web")
    with urlopen(Request(url, method="HEAD"), timeout=30) as answer:  # noqa: S310 - its scheme is checked above
        for name in TELLING:
            if value := answer.headers.get(name):
                return f"{name} {value}"
    raise ValueError(f"{url} tells none of {', '.join(TELLING)}: it cannot be watched")
