"""How each client ends after each disturbance: it goes on, or it asks for one new sign-in.

What a client does worse than it could by what the gateway answers, it does by a fault of its own:
there the reason stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

GOES_ON = "goes on"
AT_SECOND_TRY = "goes on at the second try"
ASKS_ONCE = "asks once"


@dataclass(frozen=True)
class End:
    """How it should end; `fault` says what the client itself does wrong, where it does."""

    how: str
    fault: str = ""


# What any client can do: a grant that is over asks for another one, and nothing else does.
RIGHT = {
    "access token expired": End(GOES_ON),
    "provider's token expired": End(GOES_ON),
    "gateway killed": End(GOES_ON),
    "SECRET_KEY rotated": End(GOES_ON),
    "KMS key moved": End(GOES_ON),
    "store away for 30 s": End(GOES_ON),
    "grant ended by the person": End(ASKS_ONCE),
    "provider's grant dead": End(ASKS_ONCE),
}

# What single clients do otherwise, by their names.
OTHERWISE: dict[str, dict[str, End]] = {}


def end(client: str, disturbance: str) -> End:
    """Return how a client should end."""
    return OTHERWISE.get(client, {}).get(disturbance, RIGHT[disturbance])
