"""Why a client's request is refused: an error code of OAuth, and a fixed sentence."""

from typing import Final

INVALID_REQUEST: Final = "invalid_request"  # RFC 6749 section 4.1.2.1 and 5.2
INVALID_CLIENT: Final = "invalid_client"
UNSUPPORTED_GRANT_TYPE: Final = "unsupported_grant_type"
UNSUPPORTED_RESPONSE_TYPE: Final = "unsupported_response_type"
ACCESS_DENIED: Final = "access_denied"
TEMPORARILY_UNAVAILABLE: Final = "temporarily_unavailable"
INVALID_TARGET: Final = "invalid_target"  # RFC 8707 section 2
INVALID_REDIRECT_URI: Final = "invalid_redirect_uri"  # RFC 7591 section 3.2.2
INVALID_CLIENT_METADATA: Final = "invalid_client_metadata"
CONSENT_REQUIRED: Final = "consent_required"  # OpenID Connect Core 3.1.2.6
REQUEST_NOT_SUPPORTED: Final = "request_not_supported"
REQUEST_URI_NOT_SUPPORTED: Final = "request_uri_not_supported"


class Refused(Exception):
    """A request that is not granted; the message is a fixed sentence that says what to do."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


class UnknownClient(Refused):
    """There is no such client here, or not with what it says of itself."""

    def __init__(self, description: str = "The client is not known here.") -> None:
        super().__init__(INVALID_CLIENT, description)
