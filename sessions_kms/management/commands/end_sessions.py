"""`manage.py end_sessions`: end many sessions at once, after an incident."""

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from sessions_kms import conf
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.format.kinds import owner_of
from sessions_kms.management.base import (
    INCOMPLETE,
    OperatorCommand,
    UsageError,
    nearest,
    session_engine,
    shown,
    unknown,
)
from sessions_kms.operations import data_key_replacement, ending, users
from sessions_kms.operations.clients import ClientGrants
from sessions_kms.operations.purging import Cleared, Clearing
from sessions_kms.sealed_items import about
from sessions_kms.services import build_kms_keyring, services
from sessions_kms.storage import not_before

MOVING_IN = "sessions_kms.moving_in"
PASSES_MAX = 20
TIME = "ISO 8601 with a zone, such as 2026-01-31T12:00:00Z, or epoch seconds"


class Command(OperatorCommand):
    help = (
        "End many sessions at once. Choose one: those of a user (--user), the grants of an "
        "OAuth client (--client), those that began until a moment (--before), all (--all), or "
        "those under one leaked data key (--key-period). With --before and --all they have "
        "ended on every process within a minute; deleting them from the table comes afterwards, "
        "and may be interrupted and run again. "
        "With --provider, that provider's tokens end and the sessions stay. Ended sessions "
        "cannot be brought back: people sign in again."
    )
    requires_system_checks = ()  # An incident does not wait for them.

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            "--user", metavar="ID", help="end the sessions of this user: the id, not the name"
        )
        which.add_argument(
            "--before", metavar="TIME", help=f"end the sessions that began until {TIME}"
        )
        which.add_argument(
            "--all", action="store_true", help="end the sessions that began until now"
        )
        which.add_argument(
            "--key-period",
            metavar="PERIOD",
            help="end the sessions that one data key sealed: that of the period that"
            " began then (as TIME). If it is still in use, another data key is published first",
        )
        which.add_argument(
            "--client",
            metavar="NAME_OR_ID",
            help="end the grants of this OAuth client, by its id or what it calls itself",
        )
        parser.add_argument(
            "--provider",
            metavar="NAME",
            help="with --before: end the tokens of this provider, not sessions",
        )
        parser.add_argument(
            "--no-delete",
            action="store_true",
            help="with --before or --all: do not delete what has ended; DynamoDB's TTL does",
        )

    def operate(self, options: dict[str, Any]) -> None:
        by_moment = options["all"] or options["before"] is not None
        if options["no_delete"] and not by_moment:
            raise UsageError("--no-delete goes with --before or --all.")
        if options["provider"] is not None:
            self._end_grants(options["provider"], self._moment("--before", options["before"]))
            return
        self._tell_of_another_engine()
        if options["user"] is not None:
            self._end_user(options["user"])
        elif options["client"] is not None:
            self._end_client(options["client"])
        elif by_moment:
            now = int(services().clock())
            moment = now if options["all"] else self._moment("--before", options["before"])
            self._end_until(moment, delete=not options["no_delete"])
        else:
            self._end_period(self._moment("--key-period", options["key_period"]))

    def _tell_of_another_engine(self) -> None:
        """Tell of sessions that this does not end, before anybody relies on it."""
        if not issubclass(session_engine(), SessionStore):
            self.say(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE}: the sessions that are its own, such"
                " as the rows of django_session, are not ended by this. End them there, too."
            )

    def _moment(self, option: str, text: str | None) -> int:
        if text is None:
            raise UsageError("--provider goes with --before.")
        try:
            moment = conf.parse_moment(int(text) if text.isdecimal() else text)
        except ValueError as exc:
            raise UsageError(f"{option} {exc}") from exc
        if moment > services().clock():
            raise UsageError(f"{option} must not lie in the future.")
        return moment

    # One user

    def _end_user(self, user_id: str) -> None:
        owner = owner_of(services().config.namespace, user_id)
        if owner is None:
            raise UsageError("--user must be the id of a user, at most about 1,000 bytes long.")
        known = len(run_sync(services().table.owned_ids(owner)))
        if not known:
            with suppress(DatabaseError):  # that is out of reach is no reason not to end sessions
                self._require_user(user_id)
        told = f"{known:,} sessions of user {user_id}, as the index knows them"
        if self.dry_run:
            self.conclude({"user": user_id, "found": known}, f"Would end {told}.")
            return
        self.confirm(f"End {told}?")
        with self.resumable("Run the same command again to go on."):
            ended = ending.end_sessions_of(services(), user_id)
        if settings.SESSION_ENGINE == MOVING_IN:
            self.say(
                "Sessions that are still in the old engine only are not ended: end them there."
            )
        self.conclude({"user": user_id, "ended": ended}, f"Ended {ended:,} live sessions.")

    def _require_user(self, user_id: str) -> None:
        """Refuse an id that is nobody's. (Somebody who was deleted may have sessions yet.)

        Raises UsageError, with the id of somebody whose name or address is meant, or near.
        """
        if users.named([user_id]):
            return
        meant = users.matching(user_id)
        if not meant and (near := nearest(user_id, users.names())):
            meant = users.matching(near)
        told = " or ".join(f"{key} ({shown(user.get_username())})" for key, user in meant.items())
        raise UsageError(
            f"No user has the id {shown(user_id)}, and no session is of that id."
            + (f" Did you mean {told}?" if told else "")
        )

    # One OAuth client

    def _end_client(self, client: str) -> None:
        grants = ClientGrants(services())
        found = list(grants.of(client))
        if not found:
            names = [name for each in grants.clients() for name in (each.name, each.client_id)]
            raise unknown(f"No client {shown(client)} has a grant.", client, names)
        ids = sorted({row.words.get(about.CLIENT_ID, "") for row in found})
        what = f"{_grants(len(found))} of {', '.join(map(shown, ids))}"
        result = {"client": client, "clients": ids}
        if self.dry_run:
            self.conclude({**result, "found": len(found)}, f"Would end {what}.")
            return
        self.confirm(f"End {what}?")
        with self.resumable("Run the same command again to go on."):
            ended = grants.end(iter(found))
        self.conclude({**result, "ended": ended}, f"Ended {_grants(ended)}.")

    # Everything until a moment

    def _end_until(self, moment: int, *, delete: bool) -> None:
        what = f"every session that began until {_shown(moment)}"
        if self.dry_run:
            self.conclude({"moment": moment, "items": self._items},
                          f"Would end {what}. {self._told_estimate()}")  # fmt: skip
            return
        self._require_past(moment)
        self.confirm(f"End {what}? {self._told_estimate()}")
        raised = ending.end_before(services(), moment)
        self.say(
            f"Ended {what}: in force on every process within a minute."
            if raised
            else "This moment, or a later one, was in force already."
        )
        result = {"moment": moment, "raised": raised}
        if not delete:
            self.conclude(result, "Nothing was deleted: DynamoDB's TTL does that in time.")
            return
        clearing = Clearing(services())
        with self.resumable(
            "The sessions have ended. To go on deleting them, run:"
            f" manage.py end_sessions --before {moment}"
        ):
            self._conclude(result, [self._pass(clearing, clearing.created(moment))])

    # One data key

    def _end_period(self, period: int) -> None:
        if period == 0:
            raise UsageError(
                "Sessions of period 0 have a data key each: end them by --before or --all."
            )
        in_use = data_key_replacement.is_in_use(services(), period)
        if in_use:
            self._require_begun(period)
        what = f"every session sealed under the data key of {_shown(period)}"
        first = " Another data key would be published first." if in_use else ""
        if self.dry_run:
            self.conclude({"period": period, "in_use": in_use, "items": self._items},
                          f"Would end {what}.{first} {self._told_estimate()}")  # fmt: skip
            return
        self.confirm(f"End {what}?{first} {self._told_estimate()}")
        with self.resumable("Run the same command again to go on."):
            self._conclude({"period": period}, self._end_sealed(period, in_use))

    def _require_begun(self, period: int) -> None:
        """Refuse a moment in the midst of a period: its data key would go on in use."""
        begun = data_key_replacement.begun(services(), period)
        if begun != period:
            raise UsageError(
                f"No period began at {_shown(period)}: it lies in the one of {_shown(begun)}."
                f" For that one, it is --key-period {begun}."
            )

    def _end_sealed(self, period: int, in_use: bool) -> list[Cleared]:
        passes = []
        clearing = Clearing(services())
        if in_use:
            published = data_key_replacement.replaced(
                services(), build_kms_keyring(services().config), period
            )
            kept: bytes | None = published.encrypted
            self.say("Another data key of this period is published.")
            passes.append(self._pass(clearing, clearing.sealed(period, but=kept)))
            self.wait_until(
                published.created_at + services().config.data_key_cache_age,
                "Waiting until every process has taken it",
            )
        else:  # One that took its place in time sealed on until the period's end.
            replacement = data_key_replacement.replacement(services(), period)
            kept = None if replacement is None else replacement.encrypted
        for _ in range(PASSES_MAX):
            passes.append(self._pass(clearing, clearing.sealed(period, but=kept)))
            if passes[-1].deleted == 0:
                return passes
        raise TableUnavailable("Some process goes on sealing under the data key that was replaced.")

    # The tokens of a provider

    def _end_grants(self, provider: str, moment: int) -> None:
        known = sorted(not_before.known_names())
        if provider not in known:
            names = ", ".join(known) or "none: no installed app keeps tokens"
            what = f"There is no provider {shown(provider)}. There are: {names}."
            raise unknown(what, provider, known)
        what = f"every grant of tokens by {provider} until {_shown(moment)}"
        if self.dry_run:
            self.conclude({"provider": provider, "moment": moment}, f"Would end {what}.")
            return
        self._require_past(moment)
        self.confirm(f"End {what}? The sessions stay; people consent again.")
        raised = ending.end_before_of(services(), provider, moment)
        self.conclude(
            {"provider": provider, "moment": moment, "raised": raised},
            f"Ended {what}: in force on every process within a minute."
            if raised
            else "This moment, or a later one, was in force already.",
        )

    # What they share

    def _require_past(self, moment: int) -> None:
        """Refuse a moment that only this machine's clock calls past."""
        try:
            ending.require_past(services(), moment)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc

    def _pass(self, clearing: Clearing, work: Iterator[int]) -> Cleared:
        with self.progress("items looked at", total=self._items) as advance:
            for looked_at in work:
                advance(looked_at)
        return clearing.cleared

    def _conclude(self, result: dict[str, Any], passes: list[Cleared]) -> None:
        deleted = sum(cleared.deleted for cleared in passes)
        looked_at, doubtful = passes[-1].looked_at, passes[-1].doubtful
        summary = f"Deleted {deleted:,} sessions; the table held {looked_at:,} items of all kinds."
        if doubtful:
            summary += (
                f" {doubtful:,} were left: KMS could not tell whether they are of this namespace."
                " Run the same command again once it can."
            )
        self.conclude(
            {**result, "deleted": deleted, "looked_at": looked_at, "doubtful": doubtful},
            summary,
            status=INCOMPLETE if doubtful else 0,
        )

    @cached_property
    def _items(self) -> int | None:
        try:
            return run_sync(services().description.estimated_items())
        except TableUnavailable:  # This role may not ask.
            return None

    def _told_estimate(self) -> str:
        if self._items is None:
            return "How many items the table holds is not known."
        return (
            f"The table holds about {self._items:,} items of all kinds and namespaces,"
            " as AWS counted up to six hours ago."
        )


def _grants(number: int) -> str:
    return "1 grant" if number == 1 else f"{number:,} grants"


def _shown(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
