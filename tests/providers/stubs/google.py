"""Google: https://developers.google.com/identity/protocols/oauth2/web-server."""

from dataclasses import dataclass
from typing import ClassVar

from tests.providers.stubs.stub import Stub


@dataclass
class Google(Stub):
    """Gives refresh tokens for `access_type=offline`, at a consent; they are never replaced."""

    name: ClassVar[str] = "google"
    host: ClassVar[str] = "accounts.google.com"
    rotates: bool = False
    has_consented: bool = True  # before: only prompt=consent asks again

    def note(self, asked: dict[str, str]) -> None:
        """https://developers.google.com/identity/protocols/oauth2/web-server#offline."""
        is_offline = asked.get("access_type") == "offline"
        asks = asked.get("prompt") == "consent" or not self.has_consented
        self.gives_refresh_token = is_offline and asks
