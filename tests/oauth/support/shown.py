"""The time that a form carries (`click_delay`), for tests that are about something else."""

from __future__ import annotations

from typing import Any

from django.core.signing import Signer

from oauth.sign_in.click_delay import DELAY, FIELD
from sessions_kms.services import services


def shown_to(user_id: Any, *, ago: float = 2 * DELAY) -> dict[str, str]:
    """Return the field of a form that this user has seen for so many seconds."""
    signer = Signer(salt=f"oauth.click_delay:{user_id}")
    return {FIELD: signer.sign(f"{services().clock() - ago:.6f}")}
