"""`manage.py end_sessions`: end many sessions at once, after an incident."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError
from django.db import DatabaseError

from sessions_kms import conf
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable, TableUnavailable
from sessions_kms.format.item_types import owner_of
from sessions_kms.hints import command
from sessions_kms.management.base import (
    INCOMPLETE,
    OperatorCommand,
    UsageError,
    session_engine,
    shown,
    unknown,
)
from sessions_kms.management.known_errors import explain
from sessions_kms.management.suggestions import nearest
from sessions_kms.operations import data_key_replacement, ending, users
from sessions_kms.operations.clients import ClientGrants
from sessions_kms.operations.purging import Cleared, Clearing
from sessions_kms.sealed_items import about
from sessions_kms.services import build_kms_keyring, services
from sessions_kms.storage import not_before

PASSES_MAX = 20
TIME = "ISO 8601 with a zone, such as 2026-01-31T12:00:00Z, or epoch seconds"


class Command(OperatorCommand):
    help = (
        "End many sessions at once. Choose one: those of a user (--user, or --account with "
        "django-allauth), the grants of an "
        "OAuth client (--client), those that began up to a time (--before), all (--all), or "
        "those sealed with one leaked data key (--key-period). With --before and --all they end "
        "in every process within a minute; then the command deletes them from the table, which "
        "can be interrupted and run again. With --provider, that provider's tokens end and the "
        "sessions stay. Ended sessions cannot be restored: users sign in again, except one who "
        "is deactivated (--deactivate)."
    )
    requires_system_checks = ()  # They must not delay the response to an incident.

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            "--user", metavar="ID", help="end the sessions of this user: the id, not the name"
        )
        if users.has_accounts():
            which.add_argument(
                "--account",
                nargs=2,
                metavar=("PROVIDER", "SUBJECT"),
                help="end the sessions of the user with this account: the provider's name, and its"
                " permanent id of the account, the claim `sub` or GitHub's number",
            )
        which.add_argument(
            "--before", metavar="TIME", help=f"end the sessions that began up to {TIME}"
        )
        which.add_argument(
            "--all", action="store_true", help="end the sessions that began up to now"
        )
        which.add_argument(
            "--key-period",
            metavar="PERIOD",
            help="end the sessions sealed with the data key of the period that began at this TIME."
            " If it is still in use, another data key is published first",
        )
        which.add_argument(
            "--client",
            metavar="NAME_OR_ID",
            help="end the grants of the OAuth client with this id or name",
        )
        parser.add_argument(
            "--deactivate",
            action="store_true",
            help="with --user or --account: first deactivate the user, who then cannot sign in",
        )
        parser.add_argument(
            "--again",
            action="store_true",
            help="with --key-period: replace a data key that is marked as a replacement, too",
        )
        parser.add_argument(
            "--provider",
            metavar="NAME",
            help="with --before: end the tokens of this provider, not sessions",
        )
        parser.add_argument(
            "--no-delete",
            action="store_true",
            help="with --before or --all: leave deleting to DynamoDB's TTL",
        )

    def operate(self, options: dict[str, Any]) -> None:
        account = options.get("account")
        by_moment = options["all"] or options["before"] is not None
        if options["deactivate"] and options["user"] is None and account is None:
            raise UsageError("--deactivate requires --user or --account.")
        if options["no_delete"] and not by_moment:
            raise UsageError("--no-delete requires --before or --all.")
        if options["again"] and options["key_period"] is None:
            raise UsageError("--again requires --key-period.")
        if options["provider"] is not None:
            self._end_grants(options["provider"], self._moment("--before", options["before"]))
            return
        self._warn_of_other_engine()
        if account is not None:
            user = self._find_user_of(*account)
            named = {"account": {"provider": account[0], "subject": account[1]}}
            self._end_user(users.user_id_of(user), named, deactivate=options["deactivate"])
        elif options["user"] is not None:
            self._end_user(options["user"], {}, deactivate=options["deactivate"])
        elif options["client"] is not None:
            self._end_client(options["client"])
        elif by_moment:
            now = int(services().clock())
            moment = now if options["all"] else self._moment("--before", options["before"])
            self._end_until(moment, delete=not options["no_delete"])
        else:
            period = self._moment("--key-period", options["key_period"])
            self._end_period(period, again=options["again"])

    def _warn_of_other_engine(self) -> None:
        """Warn about sessions that this command does not end."""
        if not issubclass(session_engine(), SessionStore):
            self.say(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE}: this does not end that engine's own"
                " sessions, such as the rows of django_session. End them there too."
            )

    def _moment(self, option: str, text: str | None) -> int:
        if text is None:
            raise UsageError("--provider requires --before.")
        try:
            moment = conf.parse_moment(int(text) if text.isdecimal() else text)
        except ValueError as exc:
            raise UsageError(f"{option} {exc}") from exc
        if moment > services().clock():
            raise UsageError(f"{option} must not be in the future.")
        return moment

    # One user

    def _end_user(self, user_id: str, named: dict[str, Any], *, deactivate: bool) -> None:
        owner = owner_of(services().config.namespace, user_id)
        if owner is None:
            raise UsageError("--user must be the id of a user, at most about 1,000 bytes long.")
        user = self._find_user(user_id) if deactivate else None
        known = self._count_sessions(owner, is_needed=not deactivate)
        if user is None and not known:
            with suppress(
                DatabaseError
            ):  # An unreachable database must not prevent ending sessions.
                self._require_user(user_id)
        number = "all" if known is None else f"{known:,}"
        what = f"{number} sessions of user {user_id} (as counted by the index)"
        what = f"deactivate user {user_id}, and end {what}" if deactivate else f"end {what}"
        result: dict[str, Any] = {"user": user_id, **named}
        if self.dry_run:
            more = {"would_deactivate": user is not None and user.is_active} if deactivate else {}
            self.conclude({**result, "found": known, **more}, f"Would {what}.")
            return
        self.confirm(f"{what[0].upper()}{what[1:]}?")
        done = self._deactivate(user, result) if deactivate else ""
        try:
            with self.resumable(f"{done}Run the same command again to continue."):
                ended = ending.end_sessions_of(services(), user_id)
        except CommandError:
            if deactivate and self.as_json:  # A script needs to know what was done.
                self.stdout.write(json.dumps({**result, "ended": None}))
            raise
        if settings.SESSION_ENGINE == "sessions_kms.moving_in":
            self.say("Sessions that are only in the old engine are not ended: end them there.")
        self.conclude({**result, "ended": ended}, f"{done}Ended {ended:,} live sessions.")

    def _count_sessions(self, owner: str, *, is_needed: bool) -> int | None:
        """Return how many sessions the index has of a user; None if it cannot be read."""
        try:
            return len(run_sync(services().queries.owned_ids(owner)))
        except StoreUnavailable:
            if is_needed:
                raise
            return None  # It must not prevent deactivating the user.

    def _find_user(self, user_id: str) -> AbstractBaseUser | None:
        """Return the user to deactivate; None if they were deleted. Raises CommandError."""
        if not users.can_be_deactivated():
            raise UsageError("--deactivate requires a user model with the field is_active.")
        with self._database():
            return users.get_users([user_id]).get(user_id)

    def _find_user_of(self, provider: str, subject: str) -> AbstractBaseUser:
        """Return the user of an account. Raises UsageError, suggesting a similar one."""
        with self._database():
            user = users.find_user_of_account(provider, subject)
            if user is not None:
                return user
            known = users.list_providers()
            if provider not in known:
                what = f"There is no account at a provider {shown(provider)}."
                raise unknown(what, provider, known)
            what = f"Nobody has signed in with {shown(subject)} at {provider}."
            raise unknown(what, subject, users.iterate_subjects(provider))

    def _deactivate(self, user: AbstractBaseUser | None, result: dict[str, Any]) -> str:
        """Deactivate a user, note it in the result, and return a sentence that says so."""
        result["deactivated"] = False
        if user is None:
            return "No user has this id, so nobody was deactivated. "
        try:
            with self._database():
                result["deactivated"] = users.deactivate(user)
        except ObjectDoesNotExist:
            return "The user was deleted meanwhile. "
        state = "is now deactivated" if result["deactivated"] else "was deactivated before"
        return f"User {users.user_id_of(user)} {state}. "

    @contextmanager
    def _database(self) -> Iterator[None]:
        """Raise CommandError if the database cannot be used, which says what works without it."""
        try:
            yield
        except DatabaseError as exc:
            raise CommandError(
                f"{explain(exc) or exc} Nothing was done. `--user` without"
                " --deactivate ends the sessions without the database."
            ) from exc

    def _require_user(self, user_id: str) -> None:
        """Raise UsageError if no user has this id, suggesting one with a similar name or address.

        A deleted user may still have sessions.
        """
        if users.get_users([user_id]):
            return
        meant = users.find_users(user_id)
        if not meant and (near := nearest(user_id, users.iterate_names())):
            meant = users.find_users(near)
        suggestion = " or ".join(
            f"{key} ({shown(user.get_username())})" for key, user in meant.items()
        )
        raise UsageError(
            f"No user has the id {shown(user_id)}, and no session belongs to it."
            + (f" Did you mean {suggestion}?" if suggestion else "")
        )

    # One OAuth client

    def _end_client(self, client: str) -> None:
        grants = ClientGrants(services())
        found = list(grants.find(client))
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
        with self.resumable("Run the same command again to continue."):
            ended = grants.end(iter(found))
        self.conclude({**result, "ended": ended}, f"Ended {_grants(ended)}.")

    # Everything up to a time

    def _end_until(self, moment: int, *, delete: bool) -> None:
        what = f"every session that began up to {_format_time(moment)}"
        if self.dry_run:
            result = {"moment": moment, "items": self._items}
            self.conclude(result, f"Would end {what}. {self._size_estimate()}")
            return
        self._require_past(moment)
        self.confirm(f"End {what}? {self._size_estimate()}")
        raised = ending.end_before(services(), moment)
        self.say(
            f"Ended {what}: effective in every process within a minute."
            if raised
            else "This time, or a later one, is already in effect."
        )
        outcome = {"moment": moment, "raised": raised}
        if not delete:
            self.conclude(outcome, "Nothing was deleted: DynamoDB's TTL does that later.")
            return
        clearing = Clearing(services())
        with self.resumable(
            "The sessions have ended. To continue deleting them, run:"
            f" {command(f'end_sessions --before {moment}')}"
        ):
            self._conclude(outcome, [self._pass(clearing, clearing.delete_created(moment))])

    # One data key

    def _end_period(self, period: int, *, again: bool) -> None:
        in_use = data_key_replacement.is_in_use(services(), period)
        if in_use:
            self._require_begun(period)
        in_use = in_use and services().config.data_key_period > 0
        what = f"every session sealed with the data key of {_format_time(period)}"
        first = " Another data key would be published first." if in_use else ""
        if self.dry_run:
            result = {"period": period, "in_use": in_use, "items": self._items}
            self.conclude(result, f"Would end {what}.{first} {self._size_estimate()}")
            return
        self.confirm(f"End {what}?{first} {self._size_estimate()}")
        with self.resumable("Run the same command again to continue."):
            passes = self._end_sealed(period, in_use, again=again)
            self._conclude({"period": period}, passes, of_key=True)

    def _require_begun(self, period: int) -> None:
        """Raise UsageError for a time within a period, whose data key would stay in use."""
        start = data_key_replacement.get_period_start(services(), period)
        if start != period:
            raise UsageError(
                f"No period began at {_format_time(period)}: it is within the one of"
                f" {_format_time(start)}. For that one, use --key-period {start}."
            )

    def _end_sealed(self, period: int, in_use: bool, *, again: bool) -> list[Cleared]:
        passes = []
        clearing = Clearing(services())
        if in_use:
            keyring = build_kms_keyring(services().config)
            published = data_key_replacement.replace_data_key(
                services(), keyring, period, again=again
            )
            kept: bytes | None = published.encrypted
            self.say("Another data key of this period has been published.")
            passes.append(self._delete_sealed(clearing, period, kept))
            # Nothing authenticates its time.
            published_at = min(published.created_at, services().clock())
            self.wait_until(
                published_at + services().config.data_key_cache_age,
                "Waiting until every process uses it",
            )
        else:  # An earlier replacement stayed in use until the end of the period.
            replacement = data_key_replacement.get_replacement(services(), period)
            kept = None if replacement is None or again else replacement.encrypted
        since = services().clock()
        for _ in range(PASSES_MAX):
            passes.append(self._delete_sealed(clearing, period, kept, since))
            if passes[-1].earlier == 0:
                return passes
        raise TableUnavailable("Some process keeps using the data key that was replaced.")

    def _delete_sealed(
        self, clearing: Clearing, period: int, kept: bytes | None, since: float | None = None
    ) -> Cleared:
        since = services().clock() if since is None else since
        return self._pass(clearing, clearing.delete_sealed(period, but=kept, since=since))

    # The tokens of a provider

    def _end_grants(self, provider: str, moment: int) -> None:
        known = sorted(not_before.known_names())
        if provider not in known:
            names = ", ".join(known) or "none (no installed app stores tokens)"
            what = f"Unknown provider {shown(provider)}. Known providers: {names}."
            raise unknown(what, provider, known)
        what = f"all tokens of {provider} granted up to {_format_time(moment)}"
        if self.dry_run:
            self.conclude({"provider": provider, "moment": moment}, f"Would end {what}.")
            return
        self._require_past(moment)
        self.confirm(f"End {what}? The sessions stay; users have to consent again.")
        raised = ending.end_before_of(services(), provider, moment)
        self.conclude(
            {"provider": provider, "moment": moment, "raised": raised},
            f"Ended {what}: effective in every process within a minute."
            if raised
            else "This time, or a later one, is already in effect.",
        )

    # Shared helpers

    def _require_past(self, moment: int) -> None:
        """Raise UsageError for a time that is past only by this machine's clock."""
        try:
            ending.require_past(services(), moment)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc

    def _pass(self, clearing: Clearing, work: Iterator[int]) -> Cleared:
        with self.progress("items scanned", total=self._items) as advance:
            for scanned in work:
                advance(scanned)
        return clearing.cleared

    def _conclude(
        self, result: dict[str, Any], passes: list[Cleared], *, of_key: bool = False
    ) -> None:
        deleted = sum(cleared.deleted for cleared in passes)
        scanned, doubtful = passes[-1].scanned, passes[-1].doubtful
        summary = f"Deleted {deleted:,} sessions; the table had {scanned:,} items of all types."
        if of_key:
            result["prepared"] = prepared = sum(cleared.prepared for cleared in passes)
            if prepared:
                summary += (
                    f" Deleted {prepared:,} data keys of periods that begin over a day from now:"
                    " somebody prepared them."
                )
        if doubtful:
            summary += (
                f" {doubtful:,} are left, because KMS could not say whether they belong to this"
                " namespace. Run the same command again when KMS is available."
            )
        self.conclude(
            {**result, "deleted": deleted, "looked_at": scanned, "doubtful": doubtful},
            summary,
            status=INCOMPLETE if doubtful else 0,
        )

    @cached_property
    def _items(self) -> int | None:
        try:
            return run_sync(services().queries.estimated_items())
        except TableUnavailable:  # This role may not be allowed to.
            return None

    def _size_estimate(self) -> str:
        if self._items is None:
            return "The number of items in the table is not known."
        return (
            f"The table has about {self._items:,} items of all types and namespaces"
            " (counted by AWS up to six hours ago)."
        )


def _grants(number: int) -> str:
    return "1 grant" if number == 1 else f"{number:,} grants"


def _format_time(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
