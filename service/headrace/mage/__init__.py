"""The names `mage_ai.*` that existing block files import, each a thin alias of ours."""

from headrace.mage.hook import install

__all__ = ["install"]
