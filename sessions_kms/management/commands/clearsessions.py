"""`manage.py clearsessions`: Django's command, for sessions that DynamoDB itself deletes."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from sessions_kms.aws.errors import DENIED, error_name
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.hints import command
from sessions_kms.management.base import INCOMPLETE, OperatorCommand, UsageError, session_engine
from sessions_kms.operations.provisioning import TTL_ATTRIBUTE
from sessions_kms.operations.purging import Clearing
from sessions_kms.services import services

MAX_ITEMS = 100_000


class Command(OperatorCommand):
    help = (
        "Delete expired sessions. While DynamoDB's TTL is on, DynamoDB does that and there is "
        "nothing to do. While TTL is off, --force deletes a limited number of expired items. "
        "With another session engine this is Django's own command."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--force", action="store_true", help="scan the table, unless its TTL is on"
        )
        parser.add_argument(
            "--max-items",
            type=int,
            default=MAX_ITEMS,
            metavar="N",
            help="with --force: delete at most N items (default: %(default)s)",
        )

    def operate(self, options: dict[str, Any]) -> None:
        if not issubclass(session_engine(), SessionStore):
            self._clear_another_engine()
        elif _ttl_is_on():
            self.conclude(
                {"ttl": True, "deleted": 0},
                "Nothing to do: DynamoDB deletes expired sessions.",
            )
        elif options["force"] and self.dry_run:
            self.conclude(
                {"ttl": False, "deleted": 0},
                "Would scan the whole table and delete expired items,"
                f" {options['max_items']:,} at most.",
            )
        elif options["force"]:
            self._clear(options["max_items"])
        else:
            self.conclude(
                {"ttl": False, "deleted": 0},
                "DynamoDB does not delete expired sessions: the table's TTL is off, or this role"
                f" may not read it. Enable TTL with {command('create_session_store')}, or pass"
                " --force to delete expired sessions now.",
                status=INCOMPLETE,
            )

    def _clear(self, at_most: int) -> None:
        if at_most < 1:
            raise UsageError("--max-items must be at least 1.")
        clearing = Clearing(services())
        with (
            self.resumable("Run the same command again to continue."),
            self.progress("items") as done,
        ):
            for scanned in clearing.delete_expired(at_most=at_most):
                done(scanned)
        deleted, more = clearing.cleared.deleted, clearing.cleared.deleted >= at_most
        self.conclude(
            {"ttl": False, "deleted": deleted, "more": more},
            f"Deleted {deleted:,} expired items."
            + (" There may be more: run the same command again." if more else ""),
            status=INCOMPLETE if more else 0,
        )

    def _clear_another_engine(self) -> None:
        engine = {"engine": settings.SESSION_ENGINE}
        if self.dry_run:
            self.conclude(engine, f"Would clear expired sessions of {settings.SESSION_ENGINE}.")
            return
        try:
            session_engine().clear_expired()
        except NotImplementedError:
            raise CommandError(
                f"Session engine {settings.SESSION_ENGINE!r} doesn't support clearing expired"
                " sessions."
            ) from None
        if self.as_json:
            self.conclude(engine, "")


def _ttl_is_on() -> bool:
    """Return True if TTL is on; a role that may not read it counts as off."""
    try:
        return run_sync(services().queries.ttl_attribute()) == TTL_ATTRIBUTE
    except TableUnavailable as exc:
        if isinstance(exc.__cause__, Exception) and error_name(exc.__cause__) in DENIED:
            return False
        raise
