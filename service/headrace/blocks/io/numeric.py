"""A decimal number as Postgres' binary protocol writes `numeric`: digits in base 10000, exactly."""

from __future__ import annotations

import struct
from decimal import Decimal

MOST_BEFORE, MOST_AFTER = 131_072, 16_383
"""Digits before and after the decimal point that Postgres can hold."""
_SPECIAL = {"n": 0xC000, "N": 0xC000, "F": 0xD000}
_NEGATIVE = 0x4000
_NEGATIVE_INFINITY = 0xF000


def numeric_bytes(value: Decimal) -> bytes:
    """The field's bytes, without their length. NaN and the infinities have their own forms. Raises OverflowError."""
    sign, digits, exponent = value.as_tuple()
    if isinstance(exponent, str):
        mark = _NEGATIVE_INFINITY if exponent == "F" and sign else _SPECIAL[exponent]
        return struct.pack("!hhHh", 0, 0, mark, 0)
    if not -MOST_AFTER <= exponent <= MOST_BEFORE - len(digits):
        raise OverflowError("numeric has at most 131072 digits before the point and 16383 after it")
    groups, weight = _groups(digits, exponent)
    scale = max(0, -exponent)
    return struct.pack(f"!hhHh{len(groups)}h", len(groups), weight, _NEGATIVE if sign else 0, scale, *groups)


def _groups(digits: tuple[int, ...], exponent: int) -> tuple[list[int], int]:
    """The base-10000 digits without zeros at either end, and the power of 10000 of the first."""
    text = "".join(map(str, digits)) + "0" * max(0, exponent)
    scale = max(0, -exponent)
    text = text.zfill(scale)
    whole, part = text[: len(text) - scale], text[len(text) - scale :]
    whole = whole.zfill(-(-len(whole) // 4) * 4)
    part = part.ljust(-(-len(part) // 4) * 4, "0")
    joined = whole + part
    groups = [int(joined[place : place + 4]) for place in range(0, len(joined), 4)]
    weight = len(whole) // 4 - 1
    while groups and groups[0] == 0:
        groups.pop(0)
        weight -= 1
    while groups and groups[-1] == 0:
        groups.pop()
    return groups, weight if groups else 0
