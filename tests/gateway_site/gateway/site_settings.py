"""The settings of a gateway in a process of its own: a database by its URL, one provider."""

from ipaddress import ip_network

from gateway_site import environment, providers
from tests.settings import *  # noqa: F403

DATABASES = {"default": environment.database("GATEWAY_TEST_DATABASE", "")}
OAUTH_PROVIDERS = providers.configured(
    {
        "OAUTH_CORP_CLIENT_ID": "gateway",
        "OAUTH_CORP_CLIENT_SECRET": "secret",
        "OAUTH_CORP_ISSUER": "https://login.example.com",
    }
)
SOCIALACCOUNT_PROVIDERS = providers.social_providers(OAUTH_PROVIDERS)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
TRUSTED_PROXIES = [ip_network("127.0.0.1")]
