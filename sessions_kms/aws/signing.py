"""SigV4 by a corrected clock: boto signs by the machine's, and AWS refuses what is off.

Imports botocore.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

SIGNED_AT = "sessions_kms_signed_at"
NAME = "sessions_kms-v4"


class CorrectedSigV4Auth(SigV4Auth):
    """boto's own signature, of the time that the request's context gives."""

    # Not in the stubs.
    _modify_request_before_signing: Callable[[AWSRequest], None]
    _inject_signature_to_request: Callable[[AWSRequest, str], AWSRequest]

    def add_auth(self, request: AWSRequest) -> None:
        """Sign a request."""
        if self.credentials is None:
            raise NoCredentialsError
        signed_at = datetime.fromtimestamp(request.context[SIGNED_AT], UTC)
        request.context["timestamp"] = signed_at.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        canonical_request = self.canonical_request(request)
        string_to_sign = self.string_to_sign(request, canonical_request)
        self._inject_signature_to_request(request, self.signature(string_to_sign, request))


AUTH_TYPE_MAPS[NAME] = CorrectedSigV4Auth


def sign_by(client: Any, now: Callable[[], float]) -> None:
    """Have a client sign by a clock."""

    def choose(signature_version: object, context: dict[str, Any], **_: Any) -> str | None:
        if signature_version != "v4":
            return None
        context[SIGNED_AT] = now()
        return NAME

    client.meta.events.register_first("choose-signer", choose)
