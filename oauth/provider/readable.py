"""Answers of a provider that can be read, and kept in a database; all others end in our errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from allauth.socialaccount.models import SocialAccount

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.provider.token_set import MalformedTokens

HALVES = re.compile("[\ud800-\udfff]")


@contextmanager
def or_refused() -> Iterator[None]:
    """Turn what reading a malformed answer raises into ProviderUnavailable.

    Without the cause, whose message and frames may hold the answer.
    """
    try:
        yield
    except requests.RequestException:
        raise  # allauth's views and ours know it, and its message holds no body
    except MalformedTokens as exc:
        raise ProviderUnavailable(str(exc), Code.ANSWER_UNREADABLE) from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise ProviderUnavailable(
            "The provider's answer cannot be read.", Code.ANSWER_UNREADABLE
        ) from None


def check_text(account: SocialAccount) -> None:
    """Refuse what a database refuses: NUL, halves of UTF-16 characters, and what is no number.

    https://www.postgresql.org/docs/current/datatype-json.html
    """
    try:
        text = json.dumps([account.uid, account.extra_data], ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ProviderRefused("The answer holds what is no number.", Code.TEXT) from None
    if "\\u0000" in text.replace("\\\\", "") or HALVES.search(text):
        raise ProviderRefused("The answer holds what is no text.", Code.TEXT)
