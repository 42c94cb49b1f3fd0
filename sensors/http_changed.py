"""Tells when a page or file on the web is another than it was when this sensor last told of it; the first time, too.

What was seen last is its cursor: kept together with the event that it gave, or, where it is a block of a pipeline, once
that block has completed. How often it looks is the trigger's `interval` or the block's `poll_interval`, in seconds.
"""

from urllib.request import Request, urlopen

from headrace import Event, sensor

TELLING = ("ETag", "Last-Modified", "Content-Length")
"""Headers that tell one version of a page from another, the best one first."""


@sensor
def http_changed(*args, url, cursor, **kwargs):
    """`url` is a variable of the pipeline, or of the trigger's configuration."""
    seen = f"{url} {version_of(url)}"
    if seen == cursor:
        return None
    print(f"{url} has changed: {seen}")
    return Event({"url": url, "version": seen.removeprefix(f"{url} ")}, cursor=seen)


def version_of(url: str) -> str:
    """What a web server says of the version of a page, without fetching the page."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is not an address on the web")
    with urlopen(Request(url, method="HEAD"), timeout=30) as answer:  # noqa: S310 - its scheme is checked above
        for name in TELLING:
            if value := answer.headers.get(name):
                return f"{name} {value}"
    raise ValueError(f"{url} tells none of {', '.join(TELLING)}: it cannot be watched")
