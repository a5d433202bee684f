"""From a code to what is to be done about it; docs/providers.md has the others."""

from __future__ import annotations

from oauth.codes import Code

REMEDIES = {
    Code.ADDRESS_REFUSED: "If that is meant, set OAUTH_<NAME>_ALLOW_PRIVATE=1.",
    Code.CLIENT_KEY: "Correct OAUTH_<NAME>_PRIVATE_KEY_FILE; `manage.py check` says what is wrong.",
    Code.METADATA_ISSUER: "Set OAUTH_<NAME>_ISSUER to the issuer that the metadata names.",
    Code.METADATA_STATUS: "Correct OAUTH_<NAME>_ISSUER: it may need a path (a realm, a tenant).",
    Code.METADATA_UNREADABLE: "Correct OAUTH_<NAME>_ISSUER; ask for its metadata with curl.",
    Code.TIMEOUT: "Look at the network and the firewall between this machine and the provider.",
    Code.TLS: "Renew the provider's certificate, or have it send the whole chain.",
    Code.TOKEN_INVALID_CLIENT: "Correct OAUTH_<NAME>_CLIENT_ID and _CLIENT_SECRET, or set"
    " OAUTH_<NAME>_TOKEN_AUTH to the kind that the client has at the provider.",
    Code.TOKEN_UNAUTHORIZED_CLIENT: "Allow the authorization code flow for the client there.",
    Code.UNREACHABLE: "Look at DNS, the firewall and HTTPS_PROXY on this machine.",
}


def remedy(code: Code) -> str:
    """Return what to do, with `<NAME>` for the provider's."""
    return REMEDIES.get(code, f"docs/providers.md has a row for `{code}`.")
