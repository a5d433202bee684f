"""A source of the not-before cutoff."""


class CutoffSource:
    """What the table says, and how often it was asked."""

    def __init__(self, moment: int = 0) -> None:
        self.moment = moment
        self.error: Exception | None = None
        self.reads = 0

    def __call__(self) -> int:
        self.reads += 1
        if self.error:
            raise self.error
        return self.moment
