"""Stubs of real providers: each refuses what its provider refuses, and links to its docs."""

from tests.providers.stubs.apple import Apple
from tests.providers.stubs.auth0 import Auth0
from tests.providers.stubs.cognito import Cognito
from tests.providers.stubs.entra import Entra
from tests.providers.stubs.github_enterprise import GitHubEnterprise
from tests.providers.stubs.gitlab import GitLab
from tests.providers.stubs.google import Google
from tests.providers.stubs.keycloak import Keycloak
from tests.providers.stubs.okta import Okta
from tests.providers.stubs.stub import Stub

ALL: tuple[type[Stub], ...] = (
    Apple,
    Auth0,
    Cognito,
    Entra,
    GitHubEnterprise,
    GitLab,
    Google,
    Keycloak,
    Okta,
)

__all__ = [
    "ALL",
    "Apple",
    "Auth0",
    "Cognito",
    "Entra",
    "GitHubEnterprise",
    "GitLab",
    "Google",
    "Keycloak",
    "Okta",
    "Stub",
]
