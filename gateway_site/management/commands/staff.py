"""`manage.py staff`: grants and revokes access to the admin, by the account of the sign-in."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db import IntegrityError, transaction
from django.db.models import Q

from oauth.provider import config
from oauth.sign_in import accounts
from oauth.sign_in.rights import make_rights_permanent, rights_by_groups
from oauth.signals import rights_changed
from sessions_kms.management.base import OperatorCommand, UsageError, shown, unknown


class Command(OperatorCommand):
    help = (
        "Grant and revoke access to the admin, and list who has it. Name people by the "
        "account that they sign in with, because a user name does not identify a person. Exit "
        "status: 0 done, 1 failed or not confirmed, 2 wrong options, or no such person or "
        "provider."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="grant|revoke|list")
        grant = actions.add_parser("grant", help="allow a person to enter the admin")
        grant.add_argument(
            "--superuser",
            action="store_true",
            help="also give all rights in the admin; without it the person may only enter",
        )
        revoke = actions.add_parser("revoke", help="remove the rights of staff and superusers")
        for each in (grant, revoke):
            self._add_person(each)
            super().add_arguments(each)
            each.add_argument(
                "--yes", action="store_true", dest="no_input", help="the same as --no-input"
            )
        listing = actions.add_parser("list", help="show who is staff, with their accounts")
        listing.add_argument("--json", action="store_true", help="print one JSON object")
        self.subparsers = (grant, revoke, listing)

    @staticmethod
    def _add_person(parser: ArgumentParser) -> None:
        parser.add_argument(
            "--provider",
            metavar="NAME",
            required=True,
            help="the provider with which the person signs in, such as google",
        )
        person = parser.add_mutually_exclusive_group(required=True)
        person.add_argument(
            "--subject",
            metavar="SUB",
            help="the provider's permanent id of the account: the claim `sub`, or GitHub's number",
        )
        person.add_argument(
            "--email",
            metavar="ADDRESS",
            help="an address that this provider has verified, of a person who has signed in before",
        )

    def operate(self, options: dict[str, Any]) -> None:
        if options["action"] == "list":
            self._list()
        elif options["action"] == "grant":
            self._grant(self._find_account(options), options)
        else:
            self._revoke(self._require_account(options))

    # Actions

    def _grant(self, account: SocialAccount | None, options: dict[str, Any]) -> None:
        rights = {"is_staff": True} | ({"is_superuser": True} if options["superuser"] else {})
        what = "a superuser, who may do anything in the admin" if options["superuser"] else "staff"
        provider, subject = options["provider"], options["subject"]
        if account is None:
            self.say(
                f"Nobody has signed in with {shown(subject)} at {provider} yet. This creates"
                " a user, whom the first sign-in with that account will get."
            )
        elif _has(account.user, rights) and not self._has_only_by_groups(account.user, rights):
            self._conclude(account, f"{_describe(account.user)}: already has these rights.")
            return
        whom = f"{shown(subject)} at {provider}" if account is None else _describe(account.user)
        if not self._confirm_change(f"Make {whom} {what}"):
            return
        if account is None:
            account = self._create_account(provider, subject)
        self._set(account, rights)
        self._conclude(account, f"{_describe(account.user)}: is now {what}.")

    def _revoke(self, account: SocialAccount) -> None:
        rights = {"is_staff": False, "is_superuser": False}
        if _has(account.user, rights):
            self._conclude(account, f"{_describe(account.user)}: is not staff.")
            return
        if self._confirm_change(f"Remove all rights in the admin from {_describe(account.user)}"):
            sources = _sources(account.user)
            self._set(account, rights)
            again = (
                f" Groups at {sources} will restore the rights at the next sign-in."
                if sources
                else ""
            )
            self._conclude(account, f"{_describe(account.user)}: is no longer staff.{again}")

    def _list(self) -> None:
        staff = User.objects.filter(Q(is_staff=True) | Q(is_superuser=True)).order_by("pk")
        found = [_as_json(user) for user in staff]
        lines = [f"{_describe(user)}: {_rights(user)}" for user in staff]
        self.conclude({"staff": found}, "\n".join(lines) or "Nobody is staff.")

    def _confirm_change(self, what: str) -> bool:
        if self.dry_run:
            self.conclude({"done": False}, f"Would do: {what}.")
            return False
        self.confirm(f"{what}?")
        return True

    def _set(self, account: SocialAccount, rights: dict[str, bool]) -> None:
        """Set rights, if the account still belongs to that user after the confirmation."""
        user = User.objects.filter(pk=account.user_id, socialaccount=account.pk)
        with transaction.atomic():
            if not user.update(**rights):
                raise CommandError("The account now belongs to another user. Nothing was changed.")
            # From now on the rights do not depend on groups.
            make_rights_permanent(account.user, rights)
        account.user.refresh_from_db()
        rights_changed.send_robust(
            sender=None, user=account.user, by="the command staff", fields=sorted(rights)
        )

    @staticmethod
    def _has_only_by_groups(user: User, rights: dict[str, bool]) -> bool:
        """Return True if the user has one of these rights only by groups."""
        return any(getattr(row, flag) for row in rights_by_groups(user) for flag in rights)

    def _create_account(self, provider: str, subject: str) -> SocialAccount:
        try:
            return accounts.create_account(provider, subject)
        except IntegrityError as exc:
            raise CommandError(
                "A person is signing in with that account right now: run the same command again."
            ) from exc

    def _conclude(self, account: SocialAccount, summary: str) -> None:
        self.conclude({"done": True, **_as_json(account.user)}, summary)

    # People

    def _find_account(self, options: dict[str, Any]) -> SocialAccount | None:
        """Return the account, or None for a subject that has never signed in."""
        provider = options["provider"]
        self._require_provider(provider, also_former=options["action"] == "revoke")
        if options["email"] is not None:
            return self._find_by_address(provider, options["email"])
        if not accounts.is_subject(options["subject"]):
            longest = accounts.SUBJECT_MAX
            text = f"--subject must have 1 to {longest} printable characters, no space around them."
            raise UsageError(text)
        return accounts.find_account(provider, options["subject"])

    def _require_account(self, options: dict[str, Any]) -> SocialAccount:
        account, provider, subject = (
            self._find_account(options),
            options["provider"],
            options["subject"],
        )
        if account is None:
            known = (each.uid for each in accounts.accounts_at(provider))
            text = f"Nobody has signed in with {shown(subject)} at {provider}."
            raise unknown(text, subject, known)
        return account

    @staticmethod
    def _require_provider(name: str, *, also_former: bool) -> None:
        """Reject a provider that is not configured; rights can be revoked for former ones too."""
        known = {each.name for each in config.all_providers()}
        if also_former:
            known |= set(SocialAccount.objects.values_list("provider", flat=True).distinct())
        if name not in known:
            raise unknown(f"There is no provider {shown(name)}.", name, sorted(known), cutoff=0.0)

    @staticmethod
    def _find_by_address(provider: str, address: str) -> SocialAccount:
        found = accounts.find_accounts_by_address(provider, address)
        if len(found) > 1:
            subjects = ", ".join(shown(each.uid) for each in found)
            raise UsageError(
                f"Several accounts at {provider} have this verified address. Choose one with"
                f" --subject: {subjects}."
            )
        if not found:
            known = (
                each for account in accounts.accounts_at(provider)
                for each in accounts.verified_addresses(account)
            )  # fmt: skip
            raise unknown(
                f"No account at {provider} had the verified address {shown(address)} when it last"
                " signed in. Use --subject for a person who has never signed in.",
                address,
                known,
            )
        return found[0]


def _has(user: User, rights: dict[str, bool]) -> bool:
    return all(getattr(user, name) is value for name, value in rights.items())


def _rights(user: User) -> str:
    rights = [("staff", user.is_staff), ("superuser", user.is_superuser)]
    names = ", ".join(name for name, is_given in rights if is_given)
    sources = _sources(user)
    return f"{names} (by groups at {sources})" if sources else names


def _sources(user: User) -> str:
    """Return the providers whose groups give a user rights, as text."""
    return ", ".join(sorted({row.account.provider for row in rights_by_groups(user)}))


def _describe(user: User) -> str:
    """Describe a user by their accounts and by the name that they chose."""
    state = "" if user.is_active else ", inactive"
    listed = "; ".join(_account(account) for account in _accounts(user))
    return f"user {user.pk} ({shown(user.get_username())}{state}), {listed or 'no account'}"


def _account(account: SocialAccount) -> str:
    addresses = ", ".join(map(shown, accounts.verified_addresses(account)))
    return f"{account.provider} {shown(account.uid)}" + (f" <{addresses}>" if addresses else "")


def _accounts(user: User) -> Iterator[SocialAccount]:
    yield from SocialAccount.objects.filter(user=user).order_by("pk")


def _as_json(user: User) -> dict[str, Any]:
    return {
        "user": user.pk,
        "name": user.get_username(),
        "active": user.is_active,
        "staff": user.is_staff,
        "superuser": user.is_superuser,
        "by_groups_at": sorted({row.account.provider for row in rights_by_groups(user)}),
        "accounts": [
            {"provider": account.provider, "subject": account.uid} for account in _accounts(user)
        ],
    }
