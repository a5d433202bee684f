"""The moments that end what began before them: none may lie ahead."""

from collections.abc import Iterator

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.doctor.finding import Finding, Level, failing, ok, warning
from sessions_kms.doctor.trouble import guarded
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.services import services
from sessions_kms.storage.not_before import known_names, latest

NAME = "not-before"
ALL = "`manage.py end_sessions --all`"


def not_before_findings() -> Iterator[Finding]:
    """Look at the item of the sessions, and at that of each name that somebody heeds."""
    yield from guarded(NAME, _findings)


def _findings() -> Iterator[Finding]:
    found = [_finding(name) for name in (None, *sorted(known_names()))]
    yield from [each for each in found if each.level is not Level.OK] or found[:1]


def _finding(name: str | None) -> Finding:
    whose = "the item" if name is None else f"the item of {name}"
    again = ALL if name is None else f"`manage.py end_sessions --before <now> --provider {name}`"
    try:
        ahead = round(run_sync(services().not_before_items.get(name)) - services().clock())
    except InvalidRecord:
        return failing(
            NAME, f"{whose} cannot be read: visitors get 503", f"Delete it, and at once: {again}."
        )
    if ahead <= 0:
        return ok(NAME, "none is to come")
    if ahead + services().clock() > latest(services().clock()):
        return failing(
            NAME,
            f"{whose} is {ahead:,} s ahead: ignored until it is near, and then nobody stays"
            " signed in; what an earlier one had ended may be back",
            f"Find out whose clock was wrong, or who writes the table; then: {again}.",
        )
    return warning(NAME, f"{whose} is {ahead} s ahead: what begins until then ends", "Wait.")
