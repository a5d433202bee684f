"""A process that redeems and refreshes tokens of grants on command (`talking_process`)."""

import json
import os
from typing import Any

from sessions_kms.concurrency.waits import run_sync
from tests.support.talking_process import TalkingProcess, obey

ENVIRONMENT = "WORKER_GRANTS"
AWS = ("AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_DYNAMODB")


class GrantWorker(TalkingProcess):
    """The test's handle of one such process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        endpoints = {name: os.environ[name] for name in AWS}
        variables = {
            ENVIRONMENT: json.dumps({"settings": settings, "endpoints": endpoints}),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        }
        super().__init__("tests.oauth.support.grant_worker", variables)


class GrantCommands:
    """The commands of the process."""

    def allow(self) -> str:
        from oauth.clients.grants import grants
        from tests.oauth.support.grants import BACKEND, CONSENT, TOKENS, PeopleInMemory

        return run_sync(
            grants().allow(PeopleInMemory.ada, CONSENT, "corp", TOKENS, backend=BACKEND)
        ).code

    def redeem(self, code: str) -> dict[str, Any]:
        from oauth.clients.grants import grants
        from sessions_kms.services import services
        from tests.oauth.support.grants import ASKED, VERIFIER

        asked = ASKED | {"redirect_uri": None, "arrived_at": services().clock()}
        return vars(run_sync(grants().redeem(code, verifier=VERIFIER, **asked)))

    def refresh(self, token: str) -> dict[str, Any]:
        from oauth.clients.grants import grants
        from sessions_kms.services import services
        from tests.oauth.support.grants import ASKED

        arrived = services().clock()
        return vars(run_sync(grants().refresh(token, scope=None, arrived_at=arrived, **ASKED)))

    def refresh_many(self, token: str, threads: int) -> list[Any]:
        """Refresh in threads that start together; return each result."""
        from tests.sessions_kms.support.fakes import together

        outcomes = together(threads, lambda _: self.refresh(token))
        return [type(each).__name__ if isinstance(each, Exception) else each for each in outcomes]

    def lives(self, access_token: str) -> bool:
        from oauth.clients.grants import grants

        return run_sync(grants().open(access_token, upstream="mcp")) is not None

    def end(self) -> int:
        from sessions_kms.operations.ending import end_sessions_of
        from sessions_kms.services import services

        return end_sessions_of(services(), "7")


def main() -> None:
    import django
    from django.conf import settings

    told = json.loads(os.environ[ENVIRONMENT])
    settings.SESSIONS_KMS = told["settings"]
    os.environ |= told["endpoints"]  # now that the settings have dropped all that was there
    settings.AUTHENTICATION_BACKENDS = ["tests.oauth.support.grants.PeopleInMemory"]
    django.setup()
    obey(GrantCommands())


if __name__ == "__main__":
    main()
