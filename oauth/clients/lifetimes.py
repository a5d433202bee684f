"""How long the tokens of grants live: the setting `OAUTH_CLIENTS`, read.

How long grants do says `SESSIONS_KMS["GRANT_TIMEOUT"]`.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

SETTING = "OAUTH_CLIENTS"  # a dict of the names below; each has a default

CODE_AGE = 60  # seconds
CODE_GRACE = 10  # seconds after a code was spent in which sending it again ends nothing
TOMBSTONE_AGE = 7 * 24 * 3600  # seconds in which an old refresh token still ends its grant
UNREDEEMED_AGE = 600  # seconds after which a grant ends whose code nobody redeemed
LATE = 30  # seconds beyond the grace that an answer stands, for who arrived within it


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """In seconds. ``end_with_sid``: a back-channel logout by `sid` ends the grants of that
    sign-in, too.
    """

    access_token_age: int = 3600
    refresh_grace: int = 120
    end_with_sid: bool = False

    def __post_init__(self) -> None:
        """Refuse what the protocol was not thought for."""
        if not 60 <= self.access_token_age <= 86_400:
            raise ValueError(f"{SETTING}['access_token_age'] must be from 60 to 86,400 seconds.")
        if not 0 <= self.refresh_grace <= 300:
            raise ValueError(f"{SETTING}['refresh_grace'] must be from 0 to 300 seconds.")

    @property
    def access_age(self) -> int:
        """How long an access token lives: while the grant is there yet that it is refreshed by.

        A call does not keep a grant from idling out, its refresh does: so there is half of that
        time left to come back in.
        """
        return max(1, min(self.access_token_age, settings.SESSION_COOKIE_AGE // 2))

    @classmethod
    def configured(cls) -> Lifetimes:
        """Return what the settings say. Raises TypeError for a name that there is not."""
        return cls(**getattr(settings, SETTING, {}))
