"""Which client is wished for, and that it cannot be."""

from typing import Literal

Wish = Literal["auto", "boto", "wire"]


class WireImpossible(ValueError):
    """The wire is wished for, and cannot go where it should; the message says what to do."""
