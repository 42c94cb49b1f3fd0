"""Words of a record that this version does not know: a newer one, which shares the database, wrote them."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from headrace.domain.errors import HeadraceError

Word = TypeVar("Word", bound=StrEnum)

REMEDY = "A newer Headrace wrote it: leave it to that one, or upgrade this one."


class NewerRecord(HeadraceError):
    """A record cannot be understood by this version; it is left as it is."""

    code = "newer-record"


def known(words: type[Word], word: str, what: str) -> Word:
    """The member of `words` that a record's word means; `what` names the record. Raises NewerRecord."""
    try:
        return words(word)
    except ValueError as error:
        raise NewerRecord(
            f"{what} is {word!r}, which this version of Headrace does not know.", remedy=REMEDY
        ) from error


def known_or_as_it_is(words: type[Word], word: str) -> Word | str:
    """The member of `words`, or the word itself where it is only told on."""
    try:
        return words(word)
    except ValueError:
        return word
