"""Which of the table and the KMS key can be used, so that one cause is one finding.

A check that needs what cannot be used is left out, and so is each check once the time is over.
Both are listed in a last finding.
"""

from collections.abc import Callable, Iterator

from sessions_kms.concurrency import deadline
from sessions_kms.doctor.finding import Finding, Level, warning

TABLE = "table"  # both are names of findings, too
KEY = "kms key"
NAME = "not checked"
REMEDY = "Mend what is failing, and run this again."


class Prerequisites:
    """What earlier checks have seen of the table and the key."""

    def __init__(self) -> None:
        self._unknown: set[str] = set()  # could not be described: it is missing, or out of reach
        self._unusable: set[str] = set()
        self._left_out: list[str] = []

    def watch(self, what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
        """Pass on the findings about the table or the key, and remember what they say of it."""
        described = False
        for finding in findings:
            described |= finding.name.startswith(f"{what} ")
            if finding.name == what and finding.level is Level.FAILING:
                self._unusable.add(what)
            yield finding
        if what in self._unusable and not described:
            self._unknown.add(what)

    def check(
        self,
        name: str,
        check: Callable[[], Iterator[Finding]],
        *,
        known: tuple[str, ...] = (),
        usable: tuple[str, ...] = (),
    ) -> Iterator[Finding]:
        """Run a check, if what it needs is known or usable and time is left."""
        left = deadline.budget_left()
        is_over = left is not None and left < deadline.LEAST
        if is_over or self._unknown & {*known, *usable} or self._unusable & {*usable}:
            self._left_out.append(name)
        else:
            yield from check()

    def findings(self) -> Iterator[Finding]:
        """Tell what was left out."""
        if self._left_out:
            yield warning(NAME, ", ".join(self._left_out), REMEDY)
