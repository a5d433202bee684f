"""What a check found, and which checks are left out because of it.

One cause is one finding: a check that needs a table or a key that cannot be used is left out, and
so is every check once the time is over. The last finding lists both.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from sessions_kms.concurrency import deadline


class Level(StrEnum):
    """Severity: with a warning the store still works."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"


@dataclass(frozen=True)
class Finding:
    """The result of a check. ``remedy`` is empty if there is nothing to do."""

    name: str
    level: Level
    detail: str
    remedy: str = ""


def ok(name: str, detail: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(name, Level.OK, detail)


def warning(name: str, detail: str, remedy: str) -> Finding:
    """Return a finding of a problem that leaves sessions working."""
    return Finding(name, Level.WARNING, detail, remedy)


def failing(name: str, detail: str, remedy: str) -> Finding:
    """Return a finding of a problem that prevents sessions from working."""
    return Finding(name, Level.FAILING, detail, remedy)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level of some findings."""
    levels = {finding.level for finding in findings}
    return next((level for level in reversed(Level) if level in levels), Level.OK)


TABLE = "table"  # also the name of a finding, as the next one
KEY = "kms key"
NOT_CHECKED = "not checked"


class Prerequisites:
    """Whether earlier checks found the table and the key usable."""

    def __init__(self) -> None:
        self._unknown: set[str] = set()  # not described: missing or unreachable
        self._unusable: set[str] = set()
        self._left_out: list[str] = []

    def watch(self, what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
        """Yield the findings about the table or the key, and remember whether it can be used."""
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
        findings: Iterator[Finding],
        *,
        known: tuple[str, ...] = (),
        usable: tuple[str, ...] = (),
    ) -> Iterator[Finding]:
        """Yield a check's findings if what it needs is known or usable and time is left."""
        left = deadline.budget_left()
        is_over = left is not None and left < deadline.LEAST
        if is_over or self._unknown & {*known, *usable} or self._unusable & {*usable}:
            self._left_out.append(name)
        else:
            yield from findings

    def left_out(self) -> Iterator[Finding]:
        """Yield a finding that lists the checks that were left out."""
        if self._left_out:
            remedy = "Fix what is failing, and run this again."
            yield warning(NOT_CHECKED, ", ".join(self._left_out), remedy)
