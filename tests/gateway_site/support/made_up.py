"""Session and `-next` cookies as in docs/format.md, with made-up keys."""

import random
import string
from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

from tests.sessions_kms.support.reference_format import session_id

COUNT = 40  # `-next` cookies in one request
KEY = string.ascii_lowercase + string.digits
NAMESPACE = "django"

Shape: TypeAlias = Callable[[str], dict[str, str]]  # of the name of the session cookie


def fan(name: str) -> dict[str, str]:
    """Return a session cookie and many cookies that each name a next key for it."""
    first = key()
    return {name: first} | dict(next_cookie(name, first, key()) for _ in range(COUNT))


def chain(name: str) -> dict[str, str]:
    """Return a session cookie and many cookies that each name a next key for the previous one."""
    keys = [key() for _ in range(COUNT + 1)]
    return {name: keys[0]} | dict(next_cookie(name, old, new) for old, new in pairwise(keys))


SHAPES = {"fan": fan, "chain": chain}


def next_cookie(name: str, old: str, new: str) -> tuple[str, str]:
    """Return name and value of a cookie that names the next key of another."""
    return f"{name}-next-{short(new)}", f"{new}.{short(old)}"


def key() -> str:
    return "".join(random.choices(KEY, k=32))  # noqa: S311 - of nothing


def short(session_key: str) -> str:
    return session_id(NAMESPACE, session_key)[:8]
