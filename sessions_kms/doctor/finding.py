"""What one check found: how it is, and what to do where it is not right."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: a warning leaves the store working."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``remedy`` is empty when all is well."""

    name: str
    level: Level
    detail: str
    remedy: str = ""


def ok(name: str, detail: str) -> Finding:
    """Return a finding of something that is right."""
    return Finding(name, Level.OK, detail)


def warning(name: str, detail: str, remedy: str) -> Finding:
    """Return a finding of something to put right when there is time."""
    return Finding(name, Level.WARNING, detail, remedy)


def failing(name: str, detail: str, remedy: str) -> Finding:
    """Return a finding of something that keeps sessions from working."""
    return Finding(name, Level.FAILING, detail, remedy)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level of some findings."""
    levels = {finding.level for finding in findings}
    return next((level for level in reversed(Level) if level in levels), Level.OK)
