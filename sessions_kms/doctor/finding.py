"""What a check found, and which checks are left out because of it.

One cause is one finding: a check that needs a table or a key that cannot be used is left out, and
so is every check once the time is over. The last finding lists both.
"""

from collections.abc import Iterable, Iterator, Set
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


AWS = "AWS"  # without a Region or valid credentials, nothing there can be used
CLIENT = "client"  # also the name of a finding, as the next ones
TABLE = "table"
KEY = "kms key"
KEY_SCHEMA = "table key schema"
INDEX = "table index"
NOT_CHECKED = "not checked"
# Findings that say nothing if another one is failing.
MEANINGLESS = {INDEX: frozenset({"right dynamodb:Query", "canary index"})}


class Prerequisites:
    """Whether earlier checks found AWS, the table and the key usable.

    ``of_all_aws`` has the names or remedies of faults that concern all of AWS.
    """

    def __init__(self, of_all_aws: Set[str] = frozenset()) -> None:
        self._of_all_aws = of_all_aws
        self._unknown: set[str] = set()  # not described: missing or unreachable
        self._unusable: set[str] = set()
        self._meaningless: set[str] = set()
        self._seen: set[tuple[str, str]] = set()  # details and remedies of failures
        self._left_out: list[str] = []

    def watch(self, what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
        """Yield the findings about AWS, the table or the key, and remember whether it is usable."""
        if AWS in self._unusable:
            self._left_out.append(what)
            self._unknown.add(what)
            return
        described = False
        for finding in findings:
            is_failing = finding.level is Level.FAILING
            described |= finding.name.startswith(f"{what} ")
            if is_failing and finding.name in {what, KEY_SCHEMA}:
                self._unusable.add(what)
            if is_failing and finding.name == KEY_SCHEMA:
                self._unknown.add(what)  # No call has the key that such a table needs.
            if is_failing and self._of_all_aws & {finding.name, finding.remedy}:
                self._unusable.add(AWS)
            self._meaningless |= MEANINGLESS.get(finding.name, frozenset()) if is_failing else set()
            if is_failing and (finding.detail, finding.remedy) in self._seen:
                self._left_out.append(finding.name)  # It has the same cause.
                continue
            self._seen |= {(finding.detail, finding.remedy)} if is_failing else set()
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
        if is_over or self._unknown & {*known, *usable} or self._unusable & {AWS, *usable}:
            self._left_out.append(name)
            return
        for finding in findings:
            if finding.name in self._meaningless:
                self._left_out.append(finding.name)
            else:
                yield finding

    def left_out(self) -> Iterator[Finding]:
        """Yield a finding that lists the checks that were left out."""
        if self._left_out:
            remedy = "Fix what is failing, and run this again."
            yield warning(NOT_CHECKED, ", ".join(self._left_out), remedy)
