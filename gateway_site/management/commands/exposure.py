"""`manage.py exposure`: whom to notify after somebody controlled a process of the gateway."""

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.core.management.base import CommandError
from django.db import DatabaseError

from gateway_site.audit.event import format_time
from gateway_site.audit.exposure import IN_NO_LOG, WITH_KMS_ALONE, Exposed, find_exposed
from gateway_site.management.audit_files import UNREADABLE, AuditCommand, parse_moment
from sessions_kms.management.base import FAILED, UsageError, shown
from sessions_kms.management.known_errors import explain

Accounts = dict[str, list[str]]  # by the id of a user
ID_LENGTH = 18  # digits; databases have no longer ids
AT_ONCE = 500  # users in one query, which may have a limited number of parameters


class Command(AuditCommand):
    help = (
        "List the people whose cookies or tokens a gateway process received, or whose calls were "
        "open, from an hour before --from until --to: at least these. Verifies the audit log "
        "first. Exit status: 0 done, 1 the log is incomplete or was changed: then more people may "
        "be affected."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        for name, what in (("from", "beginning"), ("to", "end")):
            parser.add_argument(
                f"--{name}",
                dest=f"period_{name}",
                required=True,
                type=parse_moment,
                metavar="TIME",
                help=f"the {what} of the period, with its zone, as 2026-01-31T12:00:00Z",
            )

    def operate(self, options: dict[str, Any]) -> None:
        start, end = options["period_from"], options["period_to"]
        if start > end:
            raise UsageError("--from must not be after --to.")
        report = self.report(options)
        try:
            people = find_exposed(report.files, start, end)
        except UNREADABLE as error:
            found = explain(error) or error
            raise CommandError(f"Could not read the audit log: {found}") from error
        accounts = _find_accounts(each.person for each in people)
        result = {
            "at_least": [
                each.as_json() | {"accounts": accounts.get(each.person, [])} for each in people
            ],
            "with_kms_alone": WITH_KMS_ALONE,
            "in_no_log": IN_NO_LOG,
            "log": report.as_json(),
        }
        lines = [
            *report.lines(),
            f"At least these people, from {format_time(start)} (an hour earlier) to"
            f" {format_time(end)}:",
            *(_describe(each, accounts) for each in people),
            *_list("Can be decrypted with KMS and the table alone:", WITH_KMS_ALONE),
            *_list("No log can show:", IN_NO_LOG),
        ]
        if not people:
            lines.append("No person was recorded. People may be affected nevertheless.")
        self.conclude(result, "\n".join(lines), status=0 if report.is_intact else FAILED)


def _describe(each: Exposed, accounts: Accounts) -> str:
    known = "; ".join(accounts.get(each.person, [])) or "no account is known now"
    clients = f", clients: {', '.join(map(shown, sorted(each.clients)))}" if each.clients else ""
    sessions = (
        f", sessions: {', '.join(map(shown, sorted(each.sessions)))}" if each.sessions else ""
    )
    return f"  user {shown(each.person)} ({known}){sessions}{clients}"


def _list(heading: str, sentences: Iterable[str]) -> Iterator[str]:
    yield heading
    yield from (f"  - {sentence}" for sentence in sentences)


def _find_accounts(people: Iterable[str]) -> Accounts:
    """Return the accounts of users, as far as the database has them."""
    ids = [int(each) for each in people if each.isdecimal() and len(each) <= ID_LENGTH]
    found: Accounts = {}
    accounts = SocialAccount.objects.select_related("user")
    parts = (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
    try:
        for account in chain.from_iterable(accounts.filter(user__in=part) for part in parts):
            address = f" <{shown(account.user.email)}>" if account.user.email else ""
            text = f"{account.provider} {shown(account.uid)}{address}"
            found.setdefault(str(account.user_id), []).append(text)
    except DatabaseError:
        return {}
    return found
