"""The site's settings; its database is a file, so that its threads share it."""

import os

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.keys import to_pem

SECRET_KEY = "toolkit-site-of-the-tests"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"]
MIDDLEWARE = ["tests.oauth.toolkit_site.seen.count_refreshes"]
ROOT_URLCONF = "tests.oauth.toolkit_site.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["TOOLKIT_DATABASE"],
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
OAUTH2_PROVIDER = {
    "OIDC_ENABLED": True,
    "OIDC_RSA_PRIVATE_KEY": to_pem(
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ).decode(),
    "SCOPES": {"openid": "Who you are", "read": "Reading"},
    "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
}
