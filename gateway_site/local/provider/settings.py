"""Settings of the local OpenID provider, from the `PROVIDER_*` variables.

They name the state folder, the one client and the lifetime of an access token. Cookie names
differ from the gateway's, because cookies ignore ports.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management.utils import get_random_secret_key

from gateway_site.local.state import load_or_create_secret, make_private_folder

HERE = Path(__file__).resolve().parent
STATE = make_private_folder(Path(os.environ["PROVIDER_STATE"]).resolve())


def _generate_signing_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


CLIENT_ID = os.environ["PROVIDER_CLIENT_ID"]
CLIENT_SECRET = os.environ["PROVIDER_CLIENT_SECRET"]
REDIRECT_URIS = os.environ["PROVIDER_REDIRECT_URIS"].split()
POST_LOGOUT_REDIRECT_URIS = os.environ.get("PROVIDER_POST_LOGOUT_REDIRECT_URIS", "").split()

SECRET_KEY = load_or_create_secret(STATE / "secret-key", get_random_secret_key)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "gateway_site.local.provider.site"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "allauth",
    "allauth.account",
    "allauth.idp.oidc",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": STATE / "provider.sqlite3",
        # Of two refreshes with one refresh token, the second waits and finds the token used,
        # instead of failing with "database is locked".
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}

SESSION_COOKIE_NAME = "provider_sessionid"
CSRF_COOKIE_NAME = "provider_csrftoken"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
# The client's origins are form targets as well: Chromium applies form-action to the redirects after
# the login and consent forms.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "form-action": ["'self'", *sorted({_origin(uri) for uri in REDIRECT_URIS})],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
# The passwords are public and the client's secret is random: slow hashing protects neither.
PASSWORD_HASHERS = ["gateway_site.local.provider.site.QuickHasher"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = ACCOUNT_LOGOUT_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "gateway_site.local.provider.site.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_RATE_LIMITS = False  # otherwise allauth rejects the 31st sign-in in a minute with 429

IDP_OIDC_ADAPTER = "gateway_site.local.provider.site.OIDCAdapter"
IDP_OIDC_PRIVATE_KEY = load_or_create_secret(STATE / "signing-key.pem", _generate_signing_key)
IDP_OIDC_ACCESS_TOKEN_EXPIRES_IN = int(os.environ.get("PROVIDER_ACCESS_TOKEN_LIFE", "3600"))
IDP_OIDC_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]
IDP_OIDC_ROTATE_REFRESH_TOKEN = True
IDP_OIDC_RP_INITIATED_LOGOUT_ASKS_FOR_OP_LOGOUT = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["console"], "level": "WARNING", "propagate": False}},
}
