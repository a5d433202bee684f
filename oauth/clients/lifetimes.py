"""How long grants and their tokens live: the setting `OAUTH_CLIENTS`, read."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

SETTING = "OAUTH_CLIENTS"  # a dict of these names; all have a default


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """All in seconds; ``grant_age`` None is the sessions' absolute timeout.

    ``end_with_sid``: a back-channel logout by `sid` ends the grants of that sign-in, too.
    """

    access_token_age: int = 3600
    refresh_grace: int = 120
    grant_age: int | None = None
    end_with_sid: bool = False

    @classmethod
    def configured(cls) -> Lifetimes:
        """Return what the settings say. Raises TypeError for a name that there is not."""
        return cls(**getattr(settings, SETTING, {}))
