"""The codes for failed sign-ins, which are on the page, in the log and in the documentation.

docs/providers.md lists each, with its cause and its remedy.
"""

# ruff: noqa: S105 - names of errors about tokens

from enum import StrEnum

from sessions_kms.hints import command, page


class Code(StrEnum):
    """A reason. It names the step that failed, and contains nothing from a provider or visitor."""

    # The redirects to the provider and back
    STATE_UNKNOWN = "state_unknown"
    CODE_MISSING = "code_missing"
    RESPONSE_ISSUER = "response_issuer"
    # Errors that the provider returns instead of a code (RFC 6749 section 4.1.2.1)
    AUTHORIZATION_ACCESS_DENIED = "authorization_access_denied"
    AUTHORIZATION_INVALID_REQUEST = "authorization_invalid_request"
    AUTHORIZATION_INVALID_SCOPE = "authorization_invalid_scope"
    AUTHORIZATION_INVALID_TARGET = "authorization_invalid_target"  # RFC 8707 section 2
    AUTHORIZATION_SERVER_ERROR = "authorization_server_error"
    AUTHORIZATION_TEMPORARILY_UNAVAILABLE = "authorization_temporarily_unavailable"
    AUTHORIZATION_UNAUTHORIZED_CLIENT = "authorization_unauthorized_client"
    AUTHORIZATION_UNSUPPORTED_RESPONSE_TYPE = "authorization_unsupported_response_type"
    AUTHORIZATION_OTHER = "authorization_other"
    # The connection to the provider
    ADDRESS_REFUSED = "address_refused"
    TIMEOUT = "timeout"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    ANSWER_TOO_LONG = "answer_too_long"
    ANSWER_COMPRESSED = "answer_compressed"
    ANSWER_UNREADABLE = "answer_unreadable"
    # Its metadata
    METADATA_STATUS = "metadata_status"
    METADATA_UNREADABLE = "metadata_unreadable"
    METADATA_ISSUER = "metadata_issuer"
    METADATA_ENDPOINT = "metadata_endpoint"
    METADATA_PKCE = "metadata_pkce"
    # What a connected MCP server says of itself (RFC 9728), compared with settings and pins
    RESOURCE_STATUS = "resource_status"
    RESOURCE_UNREADABLE = "resource_unreadable"
    RESOURCE_OTHER = "resource_other"
    ISSUER_NOT_ACCEPTED = "issuer_not_accepted"
    RESERVED_ORIGIN = "reserved_origin"
    PINNED_ISSUER = "pinned_issuer"
    PINNED_RESOURCE = "pinned_resource"
    # Its token endpoint (RFC 6749 section 5.2)
    CLIENT_KEY = "client_key"
    TOKEN_STATUS = "token_status"
    TOKEN_INVALID_CLIENT = "token_invalid_client"
    TOKEN_INVALID_GRANT = "token_invalid_grant"
    TOKEN_INVALID_REQUEST = "token_invalid_request"
    TOKEN_INVALID_SCOPE = "token_invalid_scope"
    TOKEN_INVALID_TARGET = "token_invalid_target"
    TOKEN_UNAUTHORIZED_CLIENT = "token_unauthorized_client"
    TOKEN_UNSUPPORTED_GRANT_TYPE = "token_unsupported_grant_type"
    TOKEN_OTHER = "token_other"
    TOKEN_INVALID_DPOP_PROOF = "token_invalid_dpop_proof"
    TOKEN_NOT_BOUND = "token_not_bound"
    TOKENS_TOO_LARGE = "tokens_too_large"
    # Its registration of clients (RFC 7591)
    REGISTRATION_MISSING = "registration_missing"
    REGISTRATION_REFUSED = "registration_refused"
    REGISTRATION_UNUSABLE = "registration_unusable"
    REGISTRATION_PAUSED = "registration_paused"
    # Its endpoint for pushed requests (RFC 9126)
    PAR_ENDPOINT = "par_endpoint"
    PAR_STATUS = "par_status"
    PAR_REFUSED = "par_refused"
    # Its id token (OpenID Connect Core section 3.1.3.7)
    ID_TOKEN_MISSING = "id_token_missing"
    ID_TOKEN_UNREADABLE = "id_token_unreadable"
    ID_TOKEN_ISSUER = "id_token_issuer"
    ID_TOKEN_TENANT = "id_token_tenant"
    ID_TOKEN_AUDIENCE = "id_token_audience"
    ID_TOKEN_SUBJECT = "id_token_subject"
    ID_TOKEN_TIME = "id_token_time"
    ID_TOKEN_NONCE = "id_token_nonce"
    ID_TOKEN_ACCESS_TOKEN = "id_token_access_token"
    # The person's identity at the provider
    USERINFO_STATUS = "userinfo_status"
    USERINFO_SUBJECT = "userinfo_subject"
    SUBJECT = "subject"
    TEXT = "text"
    # Anything else
    SESSION_FULL = "session_full"
    NOT_PERMITTED = "not_permitted"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROVIDER_REFUSED = "provider_refused"

    @classmethod
    def of_error(cls, endpoint: str, error: object) -> "Code":
        """Return the code for a standard error; a provider's own errors have one common code.

        ``endpoint`` is `authorization` or `token`.
        """
        word = GITHUB_ERRORS.get(error, error) if isinstance(error, str) else None
        named = f"{endpoint}_{word}"
        return cls(named if named in set(cls) - OWN else f"{endpoint}_other")


# GitHub's own errors, in responses with status 200.
# https://docs.github.com/en/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors
GITHUB_ERRORS = {
    "bad_verification_code": "invalid_grant",
    "incorrect_client_credentials": "invalid_client",
    "redirect_uri_mismatch": "invalid_request",
}
# Codes of ours that begin like those of an endpoint's errors.
OWN = frozenset({Code.TOKEN_STATUS, Code.TOKEN_NOT_BOUND})

# After these, a connection works again only once the operator of this gateway has acted.
NEEDS_OPERATOR = frozenset(
    {
        Code.ADDRESS_REFUSED,
        Code.ISSUER_NOT_ACCEPTED,
        Code.PINNED_ISSUER,
        Code.PINNED_RESOURCE,
        Code.REGISTRATION_MISSING,
        Code.RESERVED_ORIGIN,
    }
)

REMEDIES = {
    Code.ADDRESS_REFUSED: "If this is intended, set OAUTH_<NAME>_ALLOW_PRIVATE=1.",
    Code.CLIENT_KEY: "Correct OAUTH_<NAME>_PRIVATE_KEY_FILE;"
    f" `{command('check')}` says what is wrong.",
    Code.METADATA_ISSUER: "Set OAUTH_<NAME>_ISSUER to the issuer that the metadata names.",
    Code.METADATA_STATUS: "Correct OAUTH_<NAME>_ISSUER: it may need a path (a realm, a tenant).",
    Code.METADATA_UNREADABLE: "Correct OAUTH_<NAME>_ISSUER; ask for its metadata with curl.",
    Code.REGISTRATION_MISSING: "Register a client there, and set UPSTREAM_<NAME>_CLIENT_ID.",
    Code.REGISTRATION_REFUSED: "Register a client there, and set UPSTREAM_<NAME>_CLIENT_ID.",
    Code.REGISTRATION_UNUSABLE: "Register a client there, and set UPSTREAM_<NAME>_CLIENT_ID.",
    Code.TIMEOUT: "Check the network and the firewall between this machine and the provider.",
    Code.TLS: "Renew the provider's certificate, or have it send the whole chain.",
    Code.TOKEN_INVALID_CLIENT: "Correct OAUTH_<NAME>_CLIENT_ID and _CLIENT_SECRET, or set"
    " OAUTH_<NAME>_TOKEN_AUTH to the method registered for the client at the provider.",
    Code.TOKEN_UNAUTHORIZED_CLIENT: "Allow the authorization code flow for the client there.",
    Code.UNREACHABLE: "Check DNS, the firewall and HTTPS_PROXY on this machine.",
}


def remedy(code: Code) -> str:
    """Return what to do, with `<NAME>` for the provider's."""
    return REMEDIES.get(code, f"{page('providers')} explains `{code}`.")
