"""A connection to an upstream that is only noted."""

from dataclasses import dataclass


@dataclass(eq=False)
class Line:
    """A connection: it is clean or not as a test says."""

    is_clean: bool = True
    is_closed: bool = False

    def close(self) -> None:
        self.is_closed = True
