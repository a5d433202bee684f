"""The settings of a gateway in a separate process: a database by its URL, two providers."""

import os
from ipaddress import ip_network

from gateway_site.environment.database import parse_database_url
from gateway_site.providers.configuration import read_providers, social_providers
from tests.settings import *  # noqa: F403

ROOT_URLCONF = "gateway_site.urls"  # without clients, none of their addresses
DATABASES = {"default": parse_database_url(os.environ["GATEWAY_TEST_DATABASE"])}
OAUTH_PROVIDERS = read_providers(
    {
        "OAUTH_CORP_CLIENT_ID": "gateway",
        "OAUTH_CORP_CLIENT_SECRET": "gateway-secret-canary",
        "OAUTH_CORP_ISSUER": os.environ.get("GATEWAY_TEST_ISSUER") or "https://login.example.com",
        "OAUTH_BOUND_CLIENT_ID": "another-gateway",
        "OAUTH_BOUND_CLIENT_SECRET": "secret",
        "OAUTH_BOUND_ISSUER": "https://bound.example.com",
        "OAUTH_BOUND_DPOP": "1",
    }
)
SOCIALACCOUNT_PROVIDERS = social_providers(OAUTH_PROVIDERS)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
TRUSTED_PROXIES = [ip_network("127.0.0.1")]
CSRF_USE_SESSIONS = "GATEWAY_TEST_CSRF_USE_SESSIONS" in os.environ
