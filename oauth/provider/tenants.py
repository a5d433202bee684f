"""Issuers with many tenants, as Entra ID's `common` and `organizations` are.

Their metadata names `https://login.microsoftonline.com/{tenantid}/v2.0` as the issuer, their
id tokens one with the tenant of the person, in the claim `tid`. Whoever has a tenant there
has an account, so only listed tenants are believed.
https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer
"""

from __future__ import annotations

from urllib.parse import urlsplit

from oauth.codes import Code
from oauth.provider.config import Provider
from oauth.provider.id_token import ForAnother

PLACE = "{tenantid}"


def issuer_of_metadata(provider: Provider, issuer: str) -> str:
    """Return the issuer that the metadata of a configured one has to name."""
    if not provider.allowed_tenants:
        return issuer
    parts = urlsplit(issuer)
    _, _, *rest = parts.path.split("/")  # the first segment is `common` or `organizations`
    return parts._replace(path="/".join(["", PLACE, *rest])).geturl()


def issuer_of_id_token(provider: Provider, issuer: str, tenant: object) -> str:
    """Return the issuer that an id token of a tenant has to name.

    Raises ForAnother when the tenant is not listed.
    """
    if PLACE not in issuer:
        return issuer
    if not isinstance(tenant, str) or tenant not in provider.allowed_tenants:
        raise ForAnother("The account is of a tenant that is not listed.", Code.ID_TOKEN_TENANT)
    return issuer.replace(PLACE, tenant)
