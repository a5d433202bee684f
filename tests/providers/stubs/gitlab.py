"""GitLab: https://docs.gitlab.com/api/oauth2/ and https://docs.gitlab.com/integration/openid_connect_provider/."""

from dataclasses import dataclass
from typing import ClassVar

from tests.providers.stubs.stub import Stub


@dataclass
class GitLab(Stub):
    """Gives refresh tokens unasked, for once each; `offline_access` is no scope of its."""

    name: ClassVar[str] = "gitlab"
    host: ClassVar[str] = "gitlab.com"
    scopes_known: ClassVar[frozenset[str]] = frozenset(
        {"openid", "profile", "email", "read_user", "read_api"}
    )
    variables: ClassVar[dict[str, str]] = {
        "ISSUER": "https://gitlab.com",
        "SCOPES": "openid,profile,email,read_api",
    }
    expires_in: int = 7200
