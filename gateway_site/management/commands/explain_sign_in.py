"""`manage.py explain_sign_in`: why a person may or may not sign in."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.core.management.base import CommandError

from oauth.admission.explanation import Explanation, explain
from oauth.provider import config
from sessions_kms.hints import command, page
from sessions_kms.management import known_errors
from sessions_kms.management.base import OperatorCommand, UsageError, shown, unknown
from sessions_kms.management.suggestions import nearest

SIZE_MAX = 64 * 1024  # bytes of a file of claims
SEARCHED_MAX = 10_000  # users, for one with a similar name


class Command(OperatorCommand):
    help = (
        f"Explain why a person may or may not sign in ({page('who-may-sign-in')}). Changes "
        "nothing and calls no provider. Exit status: 0 explained, 1 failed, 2 wrong options, "
        "or no such user or provider."
    )
    changes = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument(
            "--user",
            metavar="ID",
            help="a user who has signed in before, by the number in the admin and in"
            f" `{command('staff list')}`; explains what their providers said last",
        )
        who.add_argument(
            "--provider", metavar="NAME", help="the provider with which the person would sign in"
        )
        parser.add_argument(
            "--claims",
            metavar="FILE",
            help="with --provider: a JSON object, the claims of an id token or"
            ' {"id_token": …, "userinfo": …}; for GitHub {"emails": […], "groups": […]};'
            " - reads it from stdin",
        )

    def operate(self, options: dict[str, Any]) -> None:
        if bool(options["provider"]) != bool(options["claims"]):
            raise UsageError("--provider and --claims need each other.")
        if options["provider"]:
            self._explain_claims(options["provider"], options["claims"])
        else:
            self._explain_user(options["user"])

    def _explain_claims(self, name: str, path: str) -> None:
        provider = config.find_provider(name)
        if provider is None:
            known = [each.name for each in config.all_providers()]
            raise unknown(f"There is no provider {shown(name)}.", name, known, cutoff=0.0)
        found = explain(provider, _read_claims(path))
        self.conclude({"sign_ins": [_as_json(found)]}, _format(found))

    def _explain_user(self, given: str) -> None:
        user = User.objects.filter(pk=int(given)).first() if _is_number(given) else None
        if user is None:
            raise _unknown_user(given)
        accounts = SocialAccount.objects.filter(user=user).order_by("pk")
        configured = [(each, config.find_provider(each.provider)) for each in accounts]
        found = [explain(provider, each.extra_data) for each, provider in configured if provider]
        gone = [each.provider for each, provider in configured if provider is None]
        lines = [_format(each) for each in found]
        lines += [f"{name}: not configured, so nobody can sign in with it." for name in gone]
        if not user.is_active:
            lines.append("The user is inactive and cannot sign in.")
        result = {
            "user": user.pk,
            "active": user.is_active,
            "not_configured": gone,
            "sign_ins": [_as_json(each) for each in found],
        }
        self.conclude(
            result, "\n".join(lines) or "The user has no account at a provider and cannot sign in."
        )


def _format(found: Explanation) -> str:
    verdict = {
        True: "may sign in.",
        False: f"may not sign in: {found.code}.",
        None: "unknown: these claims do not decide it.",
    }[found.allowed]
    steps = "".join(f"\n  {step}" for step in found.steps)
    return f"{found.provider}: {verdict}{steps}"


def _as_json(found: Explanation) -> dict[str, Any]:
    return {**asdict(found), "steps": list(found.steps)}


def _read_claims(path: str) -> Mapping[str, Any]:
    try:
        if path == "-":
            content = sys.stdin.read(SIZE_MAX + 1).encode()
        else:
            with Path(path).open("rb") as file:
                content = file.read(SIZE_MAX + 1)
    except (OSError, UnicodeError) as exc:
        found = known_errors.explain(exc) or exc
        raise CommandError(f"The claims cannot be read: {found}") from exc
    if len(content) > SIZE_MAX:
        raise UsageError(f"The claims are longer than {SIZE_MAX:,} bytes.")
    try:
        claims = json.loads(content)
    except (RecursionError, ValueError):
        claims = None
    if not isinstance(claims, dict):
        raise UsageError("The claims must be one JSON object.")
    return claims


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19  # fits every database


def _unknown_user(given: str) -> UsageError:
    """Return an error that suggests a user, such as the one with this name."""
    known = dict(User.objects.values_list("username", "pk")[:SEARCHED_MAX])
    near = nearest(given, known)
    hint = f" Did you mean {known[near]} ({shown(near)})?" if near else ""
    return UsageError(f"There is no user {shown(given)}.{hint}")
