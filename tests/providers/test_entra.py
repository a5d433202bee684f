"""Entra ID: only listed tenants of the shared issuers, and an identity that lasts."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured

from gateway_site.providers.configuration import read_providers
from tests.oauth.support.fixtures import Visitor
from tests.providers.conftest import Serve
from tests.providers.signing_in import sign_in
from tests.providers.stubs import Entra
from tests.providers.stubs.entra import OID, OTHER_TENANT, TENANT
from tests.providers.stubs.stub import query_of
from tests.support.cases import each_case


@dataclass
class OneTenant(Entra):
    """The same under a tenant's own issuer, which its metadata names as it is."""

    base: ClassVar[str] = f"/{TENANT}/v2.0"
    variables: ClassVar[dict[str, str]] = {
        "ISSUER": f"https://login.microsoftonline.com/{TENANT}/v2.0"
    }

    def metadata(self) -> dict[str, Any]:
        return super().metadata() | {"issuer": self.issuer}


@pytest.mark.parametrize("kind", [Entra, OneTenant])
def test_identity_is_that_of_the_directory_and_not_of_this_client(
    serve: Serve, visitor: Visitor, kind: type[Entra]
) -> None:
    entra = serve(kind)
    sign_in(visitor, entra)
    assert SocialAccount.objects.get().uid == f"{TENANT}.{OID}"
    entra.person |= {"sub": "another one, as another client has"}
    sign_in(Visitor(), entra)
    assert get_user_model().objects.count() == 1


def test_tenant_that_is_not_listed_is_refused(serve: Serve, visitor: Visitor) -> None:
    entra = serve(Entra)
    entra.tenant = OTHER_TENANT
    assert sign_in(visitor, entra).status_code == 401
    assert not get_user_model().objects.exists()


def test_same_person_in_another_listed_tenant_is_another_account(
    serve: Serve, visitor: Visitor
) -> None:
    entra = serve(Entra, ALLOWED_TENANTS=f"{TENANT.upper()},{OTHER_TENANT}")
    sign_in(visitor, entra)
    entra.tenant = OTHER_TENANT
    sign_in(Visitor(), entra)
    assert {each.uid for each in SocialAccount.objects.all()} == {
        f"{TENANT}.{OID}",
        f"{OTHER_TENANT}.{OID}",
    }


@pytest.mark.parametrize(
    "claims",
    [
        {"oid": None},
        {"oid": ""},
        {"oid": True},
        {"tid": None},
        {"tid": [TENANT]},
        {"tid": OTHER_TENANT},
        {"iss": f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"},
        {"iss": "https://login.microsoftonline.com/{tenantid}/v2.0", "tid": "{tenantid}"},
    ],
)
def test_id_token_that_is_not_a_listed_tenants_own_is_refused(
    serve: Serve, visitor: Visitor, claims: dict[str, Any]
) -> None:
    entra = serve(Entra)
    entra.claims |= claims
    assert sign_in(visitor, entra).status_code == 401
    assert visitor.user_id is None


@pytest.mark.parametrize(
    "issuer", [f"https://login.microsoftonline.com/{TENANT}/v2.0", "https://evil.example/v2.0"]
)
def test_shared_metadata_must_name_the_shared_issuer(
    serve: Serve, visitor: Visitor, issuer: str
) -> None:
    entra = serve(Entra)
    entra.more_of_metadata = {"issuer": issuer}
    assert visitor.start("entra").status_code == 503


def test_token_for_another_api_needs_no_userinfo(serve: Serve, visitor: Visitor) -> None:
    entra = serve(Entra, SCOPES="openid,profile,api://orders/.default")
    assert sign_in(visitor, entra).status_code == 302
    assert not entra.audience_is_graph
    assert SocialAccount.objects.get().extra_data["userinfo"] == {}


def test_no_resource_is_sent(serve: Serve, visitor: Visitor) -> None:
    entra = serve(Entra)
    sign_in(visitor, entra)
    assert entra.refused == []
    started = visitor.start("entra")["Location"]
    assert "resource" not in query_of(started)
    entra.browse(f"{started}&resource=api://orders")
    assert entra.refused == ["invalid_request"]


@each_case(
    ("change", "variable"),
    [
        ({"ALLOWED_TENANTS": ""}, "ALLOWED_TENANTS"),
        ({"ALLOWED_TENANTS": "*"}, "ALLOWED_TENANTS"),
        ({"ALLOWED_TENANTS": "contoso.onmicrosoft.com"}, "ALLOWED_TENANTS"),
        ({"ISSUER": f"https://login.microsoftonline.com/{TENANT}/v2.0"}, "ALLOWED_TENANTS"),
        ({"ISSUER": "https://login.microsoftonline.com/organizations"}, "ISSUER"),
        ({"ISSUER": "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0"}, "ISSUER"),
        ({"ISSUER": "https://login.microsoftonline.com/consumers/v2.0"}, "ISSUER"),
        ({"ISSUER": "http://login.microsoftonline.com/common/v2.0"}, "ISSUER"),
        ({"ISSUER": "https://login.example.com"}, "ALLOWED_TENANTS"),
        ({"AUTH_PARAMS": "resource=https://graph.microsoft.com"}, "AUTH_PARAMS"),
        ({"SCOPES": "openid,email"}, "SCOPES"),
        ({"ID_FIELD": "sub"}, "ID_FIELD"),
    ],
)
def test_mistake_names_the_variable(change: dict[str, str], variable: str) -> None:
    own = {"CLIENT_ID": "c", "CLIENT_SECRET": "s"} | Entra.variables | change
    with pytest.raises(ImproperlyConfigured, match=f"OAUTH_ENTRA_{variable}"):
        read_providers({f"OAUTH_ENTRA_{name}": value for name, value in own.items()})
