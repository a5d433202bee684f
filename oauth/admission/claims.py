"""Reads the claims of an OpenID provider: first those of the id token, then those of userinfo.

Takes an account's claims and an `Admission`, returns `Evidence`. Claims of the wrong type are
ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oauth import access_rule
from oauth.access_rule import Admission, Evidence, Refusal, parse_address, parse_domain

Document = Mapping[str, Any]
# Microsoft documents a boolean; a number and a string were seen as well.
# https://learn.microsoft.com/en-us/entra/identity-platform/optional-claims-reference
TRUE = (True, "true", "1")
NAME_MAX = 200  # characters


@dataclass(frozen=True, kw_only=True)
class Claims:
    """The claims of one account; userinfo is empty if it was not requested."""

    id_token: Document
    userinfo: Document

    @classmethod
    def of_account(cls, extra_data: object) -> "Claims":
        """Read the claims that allauth stores; without documents they count as an id token's."""
        data = extra_data if isinstance(extra_data, Mapping) else {}
        if not {"id_token", "userinfo"} & data.keys():
            return cls(id_token=data, userinfo={})
        return cls(id_token=_document(data, "id_token"), userinfo=_document(data, "userinfo"))

    @property
    def documents(self) -> tuple[Document, Document]:
        """Both documents; the id token first, because it was issued for this sign-in."""
        return self.id_token, self.userinfo


def read_evidence(claims: Claims, admission: Admission, issuer: str | None) -> Evidence:
    """Return the evidence in the claims.

    Groups that the token omits as an overage are fetched by `oauth.admission.provider_api`.
    """
    groups = find_groups(claims, admission.groups_claim)
    return Evidence(
        addresses=_trusted_addresses(claims, admission, issuer),
        groups=frozenset(groups or ()),
        hosted_domain=_hosted_domain(claims.id_token.get("hd")),
        no_address=_why_no_address(claims),
        no_group=_why_no_group(claims, admission, groups),
    )


def trusted_address(claims: Document, admission: Admission, issuer: str | None) -> str | None:
    """Return the address of a document if the provider verified it; None otherwise."""
    address = claims.get("email")
    if not isinstance(address, str) or not _is_verified(claims, admission, issuer):
        return None
    try:
        return parse_address(address)
    except ValueError:
        return None


def find_groups(claims: Claims, name: str) -> frozenset[str] | None:
    """Return the groups of the first document that has the claim; None if none has it."""
    return next(
        (found for each in claims.documents if (found := read_groups(each, name)) is not None), None
    )


def read_name(extra_data: object) -> str | None:
    """Return the person's name in an account's claims; None if there is none that can be shown."""
    for document in Claims.of_account(extra_data).documents:
        name = document.get("name")
        if isinstance(name, str) and 0 < len(name.strip()) <= NAME_MAX and name.isprintable():
            return name.strip()
    return None


def read_groups(claims: Document, name: str) -> frozenset[str] | None:
    """Return the groups of a claim; None if it is absent.

    A claim's name may be a URL with dots (OpenID Connect Core 5.1.2), so the exact name is tried
    first, and then as a path such as Keycloak's `realm_access.roles`.
    """
    found = claims.get(name)
    if found is None:
        found = claims
        for step in name.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return frozenset({found})
    if isinstance(found, list):
        return frozenset(each for each in found if isinstance(each, str))
    return None


def has_overage(claims: Document, name: str) -> bool:
    """Return True if Entra ID left the groups out because there are too many.

    https://learn.microsoft.com/en-us/security/zero-trust/develop/configure-tokens-group-claims-app-roles
    """
    elsewhere = claims.get("_claim_names")
    moved = isinstance(elsewhere, Mapping) and name in elsewhere
    return moved or (name == "groups" and claims.get("hasgroups") in TRUE)


def _is_verified(claims: Document, admission: Admission, issuer: str | None) -> bool:
    """Return True if the provider says that it has verified the address.

    In Entra ID, a tenant's administrator can set any address; `xms_edov` says whether the tenant
    owns its domain:
    https://learn.microsoft.com/en-us/entra/identity-platform/migrate-off-email-claim-authorization
    """
    if admission.trust_email:
        return True
    if access_rule.is_entra(issuer):
        return claims.get("xms_edov") in TRUE
    return is_true(claims.get("email_verified"))


def is_true(claim: object) -> bool:
    """Read `email_verified`, a boolean (OpenID Connect Core 5.1); Amazon Cognito sends a string.

    https://docs.aws.amazon.com/cognito/latest/developerguide/userinfo-endpoint.html
    """
    return claim is True or claim == "true"


def _trusted_addresses(claims: Claims, admission: Admission, issuer: str | None) -> frozenset[str]:
    trusted = (trusted_address(each, admission, issuer) for each in claims.documents)
    return frozenset({next((each for each in trusted if each), "")} - {""})


def _why_no_address(claims: Claims) -> Refusal:
    has_address = any(each.get("email") for each in claims.documents)
    return Refusal.NOT_VERIFIED if has_address else Refusal.NO_ADDRESS


def _why_no_group(claims: Claims, admission: Admission, groups: frozenset[str] | None) -> Refusal:
    if groups is not None:
        return Refusal.GROUP
    is_overage = any(has_overage(each, admission.groups_claim) for each in claims.documents)
    return Refusal.OVERAGE if is_overage else Refusal.NO_GROUPS


def _hosted_domain(claim: object) -> str | None:
    try:
        return parse_domain(claim) if isinstance(claim, str) else None
    except ValueError:
        return None


def _document(data: Document, name: str) -> Document:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}
