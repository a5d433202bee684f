"""The signed time in a form (`click_delay`), for tests of other behaviour."""

from contextlib import suppress
from typing import Any

from django.core.signing import BadSignature, Signer

from oauth.sign_in.click_delay import DELAY, FIELD
from sessions_kms.services import services


def shown_fields(user_id: Any, *, ago: float = 2 * DELAY) -> dict[str, str]:
    """Return the field of a form that was shown to this user some seconds ago."""
    signer = Signer(salt=f"oauth.click_delay:{user_id}")
    return {FIELD: signer.sign(f"{services().clock() - ago:.6f}")}


def age_field(field: str, *, by: float = 2 * DELAY) -> str:
    """Return the value of a form's field as if the form had been shown some seconds earlier.

    For a gateway in a separate process whose clock does not advance: the form's user is found by
    trying.
    """
    for user_id in range(1, 1000):
        signer = Signer(salt=f"oauth.click_delay:{user_id}")
        with suppress(BadSignature):
            return signer.sign(f"{float(signer.unsign(field)) - by:.6f}")
    raise AssertionError("The form is nobody's.")
