"""A gateway process that registers with an authorization server on command."""

import json
import os
from typing import Any

from tests.support.talking_process import TalkingProcess, obey

ENVIRONMENT = "WORKER_REGISTERING"


class RegisteringWorker(TalkingProcess):
    """The test's handle of one such process."""

    def __init__(self, sessions: dict[str, Any]) -> None:
        module = "tests.oauth.support.registering_worker"
        super().__init__(module, {ENVIRONMENT: json.dumps(sessions)})


class Commands:
    """The commands of the process."""

    def warm_up(self) -> bool:
        """Create the clients of AWS, so that what follows races."""
        from oauth.mcp.stored_registrations import load_registrations
        from sessions_kms.services import services

        return load_registrations(services(), "wiki").registrations == ()

    def register(self, issuer: str) -> str:
        from oauth.mcp.registrations import registration_for
        from tests.oauth.support.registering import CALLBACK, discovered_at

        return registration_for(discovered_at(issuer), CALLBACK).client_id


def main() -> None:
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "allauth",
            "allauth.account",
            "allauth.socialaccount",
        ],
        OAUTH_MCP_CLIENT={"name": "Acme", "origin": "https://gateway.example"},
        SESSIONS_KMS=json.loads(os.environ[ENVIRONMENT]),
        MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
        SESSION_ENGINE="sessions_kms.backend",
    )
    django.setup()
    obey(Commands())


if __name__ == "__main__":
    main()
