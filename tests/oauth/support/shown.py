"""The time that a form carries (`click_delay`), for tests that are about something else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.core.signing import BadSignature, Signer

from oauth.sign_in.click_delay import DELAY, FIELD
from sessions_kms.services import services


def shown_to(user_id: Any, *, ago: float = 2 * DELAY) -> dict[str, str]:
    """Return the field of a form that this user has seen for so many seconds."""
    signer = Signer(salt=f"oauth.click_delay:{user_id}")
    return {FIELD: signer.sign(f"{services().clock() - ago:.6f}")}


def aged(field: str, *, by: float = 2 * DELAY) -> str:
    """Return the value of a form's field as if the form had been shown so many seconds earlier.

    For a gateway whose clock stands still, in a process of its own: whose form it is is tried out.
    """
    for user_id in range(1, 1000):
        signer = Signer(salt=f"oauth.click_delay:{user_id}")
        with suppress(BadSignature):
            return signer.sign(f"{float(signer.unsign(field)) - by:.6f}")
    raise AssertionError("The form is nobody's.")
