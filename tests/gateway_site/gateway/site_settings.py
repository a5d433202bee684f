"""The settings of a gateway in a process of its own: a database file, one provider."""

import os

from gateway_site import providers
from tests.settings import *  # noqa: F403

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["GATEWAY_TEST_DATABASE"],
        "OPTIONS": {"timeout": 30},
    }
}
OAUTH_PROVIDERS = providers.configured(
    {
        "OAUTH_CORP_CLIENT_ID": "gateway",
        "OAUTH_CORP_CLIENT_SECRET": "secret",
        "OAUTH_CORP_ISSUER": "https://login.example.com",
    }
)
SOCIALACCOUNT_PROVIDERS = providers.social_providers(OAUTH_PROVIDERS)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
