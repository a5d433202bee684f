"""botocore's session, which makes clients whose waits end, and who take no garbled answer.

Imports botocore.
"""

import base64
import zlib
from collections.abc import Callable
from typing import Any

import botocore.session

from sessions_kms.aws.boto_http import BoundedSession
from sessions_kms.aws.boto_models import Models
from sessions_kms.aws.retrying import GarbledAnswer
from sessions_kms.aws.role_credentials import FetchedCredentials
from sessions_kms.aws.signing import sign_by

# Those of roles go by this machine's clock, as their credentials do.
SIGNED_BY_US = {"dynamodb", "kms"}


class BoundedBotoSession(botocore.session.Session):
    """A session whose clients, and whose search for credentials, wait for a bounded time."""

    _credentials: Any

    def __init__(self, *args: Any, signing_time: Callable[[], float], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._signing_time = signing_time
        # Lenient base64 drops what is no letter of it, and gives other bytes than were sent.
        self.get_component("response_parser_factory").set_parser_defaults(blob_parser=_strict)
        self.register("response-received.dynamodb", _check_sum)
        self.register_component("data_loader", Models(like=self.get_component("data_loader")))

    def create_client(self, *args: Any, **kwargs: Any) -> Any:
        """Return a client; those by which boto assumes a role are made here, too."""
        client: Any = super().create_client(*args, **kwargs)
        client._endpoint.http_session = BoundedSession.like(client._endpoint.http_session)
        if client.meta.service_model.service_name in SIGNED_BY_US:
            sign_by(client, self._signing_time)
        return client

    def get_credentials(self, **kwargs: Any) -> Any:
        """Return credentials that are looked for at their first use, not when a client is made."""
        if not isinstance(self._credentials, FetchedCredentials):
            self._credentials = FetchedCredentials(self._find_credentials)
        return self._credentials

    def _find_credentials(self) -> Any:
        return self.get_component("credential_provider").load_credentials()

    def _create_credential_resolver(self) -> Any:
        """Return boto's chain, whose services of metadata trickle no longer than others."""
        resolver = super()._create_credential_resolver()  # type: ignore[misc]  # not in the stubs
        for provider in resolver.providers:
            for name in ("_fetcher", "_role_fetcher"):  # of containers, of machines
                fetcher = getattr(provider, name, None)
                if fetcher is not None and hasattr(fetcher, "_session"):
                    fetcher._session = BoundedSession.like(fetcher._session)
        return resolver


def _strict(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _check_sum(**event: Any) -> None:
    """Refuse a body that is not the one whose checksum DynamoDB sent along."""
    answer = event.get("response_dict") or {}
    told = answer.get("headers", {}).get("x-amz-crc32")
    if told is not None and told != str(zlib.crc32(answer["body"])):
        raise GarbledAnswer
