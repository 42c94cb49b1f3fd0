"""Pages of lists by key: each tells where the next one begins, so that pages stay right while rows come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from headrace.api.fields import Given, Id

T = TypeVar("T")
MOST_ITEMS = 200


class PageQuery(Given):
    """A page of a list that is given newest first."""

    limit: Annotated[int, Field(ge=1, le=MOST_ITEMS, description="Items at most.")] = 50
    before: Annotated[Id | None, Field(description="Only items with ids below this: a page's `next`.")] = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list; `next` is the `before` of the next page, null at the end of the list."""

    items: tuple[T, ...]
    next: int | None


def page_of(found: Sequence[T], limit: int, key: Callable[[T], int]) -> Page[T]:
    """A page from up to `limit` + 1 items: one more than asked for tells that there are others."""
    items = tuple(found[:limit])
    return Page(items, key(items[-1]) if len(found) > limit else None)
