"""Settings of the gateway, from environment variables: `.env.example` describes each.

The defaults are those of production. The module can be imported with no
variable at all, since commands that create things need it; `checks.py` then
says what is missing. `GATEWAY_LOCAL` is for `manage.py runlocal` alone and
relaxes what plain http on loopback requires, nothing else.
"""

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port

from gateway_site import providers, variables
from gateway_site.environment import admission, branding, clients, secret_files
from gateway_site.environment.addresses import (
    LOOPBACK_HOSTS,
    hosts,
    networks,
    proxy_header,
    public_url,
)
from gateway_site.environment.database import database
from gateway_site.environment.reading import Variables
from gateway_site.rules import upstream

BASE_DIR = Path(__file__).resolve().parent.parent
DAY = 24 * 3600
SECRET_KEY_LENGTH = 50  # characters, as Django has it (security.W009)

variables.refuse_unknown(os.environ)
_environment = secret_files.applied(os.environ, variables.is_secret)
_env = Variables(_environment)

DEBUG = bool(_env.flag("DEBUG"))
GATEWAY_LOCAL = bool(_env.flag("GATEWAY_LOCAL"))
SECURE = not GATEWAY_LOCAL  # https only, which plain http on loopback cannot be

SECRET_KEY = _env.text("DJANGO_SECRET_KEY")
if SECRET_KEY and len(SECRET_KEY) < SECRET_KEY_LENGTH:
    raise ImproperlyConfigured(
        f"DJANGO_SECRET_KEY has {len(SECRET_KEY)} characters. Use at least {SECRET_KEY_LENGTH}, as "
        "python -c 'import secrets; print(secrets.token_urlsafe(50))' prints."
    )
SECRET_KEY_FALLBACKS = _env.items("DJANGO_SECRET_KEY_FALLBACKS")
PUBLIC_URL = public_url(_env, "PUBLIC_URL", local=GATEWAY_LOCAL)
UPSTREAMS = upstream.configured(os.environ)
# OAuth clients that sign in here themselves: None where they do not.
AUTHORIZATION_SERVER = clients.authorization_server(
    _env,
    {each.name: each.provider for each in UPSTREAMS.values() if each.clients},
    url=PUBLIC_URL,
    local=GATEWAY_LOCAL,
)
OAUTH_CLIENTS = clients.lifetimes(_env)
ALLOWED_HOSTS = hosts(_env, "ALLOWED_HOSTS")
if GATEWAY_LOCAL and not ALLOWED_HOSTS:
    ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
CSRF_TRUSTED_ORIGINS = _env.items("CSRF_TRUSTED_ORIGINS")
_origin = PUBLIC_URL or (AUTHORIZATION_SERVER.issuer if AUTHORIZATION_SERVER else "")
if _origin and (_public_host := split_domain_port(urlsplit(_origin).netloc)[0]):
    ALLOWED_HOSTS = list(dict.fromkeys([*ALLOWED_HOSTS, _public_host]))

if GATEWAY_LOCAL and not LOOPBACK_HOSTS.issuperset(ALLOWED_HOSTS):
    raise ImproperlyConfigured(
        "GATEWAY_LOCAL serves plain http: ALLOWED_HOSTS and PUBLIC_URL may then hold loopback "
        "names only (127.0.0.1, localhost, [::1])."
    )

REQUIRED_VARIABLES = ["DJANGO_SECRET_KEY", "KMS_KEY_ARN", "SESSIONS_TABLE"]
if not (GATEWAY_LOCAL or DEBUG):
    REQUIRED_VARIABLES += ["DATABASE_URL", *([] if _origin else ["ALLOWED_HOSTS"])]
MISSING_VARIABLES = _env.missing(REQUIRED_VARIABLES)

# Applications

INSTALLED_APPS = [
    "gateway_site.apps.GatewayConfig",  # first: its templates and its runserver go before others
    "oauth",
    "sessions_kms",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.socialaccount.providers.github",
    "csp",
    "gateway_site.apps.DelayedAdminConfig",  # django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "gateway_site.edge.own_cookies.OwnCookiesMiddleware",
    "gateway_site.health.HealthMiddleware",
    "gateway_site.edge.middleware.PublicAddressMiddleware",
    # These two need no session, and give their headers to the 503 of the third as well.
    "django.middleware.security.SecurityMiddleware",
    "gateway_site.edge.middleware.ContentPolicyMiddleware",
    "sessions_kms.middleware.StoreUnavailableMiddleware",
    "oauth.sign_out.SignOutMiddleware",  # outside of the session's: it acts when that has saved
    "gateway_site.edge.middleware.SignedOutMiddleware",
    "gateway_site.forwarding.client_session.ClientSessionMiddleware"
    if AUTHORIZATION_SERVER
    else "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "oauth.sign_in.authentication.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "gateway_site.urls"
ASGI_APPLICATION = "gateway_site.asgi.application"
WSGI_APPLICATION = "gateway_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # The operator's own go before the gateway's.
        "DIRS": [_templates] if (_templates := _env.folder("TEMPLATES_DIR")) else [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Data

_SQLITE = f"sqlite:///{BASE_DIR / 'db.sqlite3'}"
DATABASES = {"default": database(_env, "DATABASE_URL", _SQLITE)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if GATEWAY_LOCAL
        else "gateway_site.edge.static_files.HashedStaticFilesStorage",
    },
}

# Sessions and the other cookies

SESSION_ENGINE = "sessions_kms.backend"
SESSION_COOKIE_AGE = _env.whole_number("SESSIONS_IDLE_TIMEOUT", 7 * DAY, minimum=1)

SESSIONS_KMS: dict[str, Any] = {
    "NAMESPACE": _env.text("SESSIONS_NAMESPACE") or "django",
    "DECRYPT_KEY_IDS": _env.items("DECRYPT_KEY_ARNS"),
    "ABSOLUTE_TIMEOUT": _env.whole_number("SESSIONS_ABSOLUTE_TIMEOUT", 7 * DAY),
    "ANONYMOUS_MAX_SIZE": 64 * 1024,  # bytes; a sign-up that waits for its end holds tokens
}
if (_age := clients.grant_age(_env)) is not None:
    SESSIONS_KMS["GRANT_TIMEOUT"] = _age
for _key, _variable in {"KEY_ID": "KMS_KEY_ARN", "TABLE_NAME": "SESSIONS_TABLE"}.items():
    if _env.text(_variable):
        SESSIONS_KMS[_key] = _env.text(_variable)
if _moment := _env.text("SESSIONS_NOT_BEFORE"):
    SESSIONS_KMS["NOT_BEFORE"] = int(_moment) if _moment.isdecimal() else _moment
for _key in ("DATA_KEY_PERIOD", "DATA_KEY_CACHE_AGE", "DATA_KEY_MAX_STALE"):
    if _env.text(_key):
        SESSIONS_KMS[_key] = _env.whole_number(_key, 0)

# Cookies ignore ports, so the local run needs names that no other site on loopback uses.
COOKIE_PREFIX = "__Host-" if SECURE else "gateway_"
SESSION_COOKIE_NAME = COOKIE_PREFIX + "sessionid"
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = COOKIE_PREFIX + "csrftoken"
CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
# In a cookie: messages in the session would write one for somebody who has just signed out.
MESSAGE_STORAGE = "gateway_site.messages.MessageStorage"
MESSAGE_COOKIE_NAME = COOKIE_PREFIX + "messages"
OAUTH_LOGOUT_COOKIE_NAME = COOKIE_PREFIX + "logout"  # from a sign-out to the provider's answer
SIGNED_OUT_COOKIE_NAME = COOKIE_PREFIX + "signed-out"

# Transport and headers

SECURE_SSL_REDIRECT = SECURE
TRUSTED_PROXIES = networks(_env, "TRUSTED_PROXIES")
SECURE_PROXY_SSL_HEADER = proxy_header(_env, "PROXY_SCHEME_HEADER")
SECURE_HSTS_SECONDS = _env.whole_number("HSTS_SECONDS", 365 * DAY) if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = bool(_env.flag("HSTS_PRELOAD"))
# security.W021: preloading binds a whole domain for months; its owner must ask for it.
SILENCED_SYSTEM_CHECKS = [] if SECURE_HSTS_PRELOAD else ["security.W021"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# Seconds for which a process that is told to end goes on, so that balancers notice.
DRAIN_SECONDS = _env.whole_number("DRAIN_SECONDS", 0 if GATEWAY_LOCAL else 5)

OAUTH_PROVIDERS = providers.configured(_environment)

SITE_NAME = branding.site_name(_env.text("SITE_NAME"))
SITE_LOGO = branding.logo(_env.text("SITE_LOGO"))
# Providers whose every account may sign in; where anybody may have one, it is an error.
OPEN_PROVIDERS = admission.require_lists(_environment, OAUTH_PROVIDERS)
SIGN_IN_CONTACT = _env.text("SIGN_IN_CONTACT")  # whom somebody asks who may not

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "base-uri": [NONE],
        "connect-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF, *providers.form_action_origins(OAUTH_PROVIDERS)],
        "frame-ancestors": [NONE],
        "img-src": [SELF, *(SITE_LOGO.origins if SITE_LOGO else [])],
        "script-src": [SELF],
        "style-src": [SELF],
    }
}

# Seconds for which a call of an upstream, and a page that only shows something, may go by what the
# database said of its person.
PERSON_CACHE_AGE = _env.whole_number("PERSON_CACHE_AGE", 2, maximum=60)

# Signing in

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_LOGOUT_REDIRECT_URL = "home"

SKIP_PROVIDER_BUTTON = bool(_env.flag("SKIP_PROVIDER_BUTTON"))
SOCIALACCOUNT_ONLY = True
ACCOUNT_EMAIL_VERIFICATION = "none"
# Nobody is asked for either: a form would tell what is taken (`oauth.sign_in.signup_race`).
ACCOUNT_SIGNUP_FIELDS = ["username*", "email"]
ACCOUNT_ADAPTER = "gateway_site.account_adapter.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "oauth.adapter.SocialAccountAdapter"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS = providers.social_providers(OAUTH_PROVIDERS)
if SECURE:
    ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https"

# Logs and error reports

DEFAULT_EXCEPTION_REPORTER = "gateway_site.edge.reports.ExceptionReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "gateway_site.edge.reports.ExceptionReporterFilter"

LOG_LEVEL = (_env.text("LOG_LEVEL") or "INFO").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
    raise ImproperlyConfigured("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR.")
_is_command = Path(sys.argv[0]).name in {"manage.py", "django-admin"}
if LOG_LEVEL == "INFO" and _is_command and sys.argv[1:2] != ["runserver"]:
    LOG_LEVEL = "WARNING"  # What a command prints is not to be looked for among lines of the log.

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "refusals": {"()": "gateway_site.edge.reports.RefusalFilter"},
        "refusals_told": {"()": "gateway_site.edge.access_log.RefusalsTold"},
        "request_ids": {"()": "gateway_site.edge.access_log.RequestIds"},
        "once_per_minute": {"()": "sessions_kms.outages.OncePerMinute"},
    },
    "formatters": {
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"}
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "filters": ["request_ids", "refusals", "once_per_minute"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        # Each refused request has its line in the access log.
        "django.request": {"filters": ["refusals_told"]},
        "sessions_kms.refused": {"level": "CRITICAL"},
        # At INFO it tells where it found its credentials, each time.
        "botocore": {"level": "DEBUG" if LOG_LEVEL == "DEBUG" else "WARNING"},
        # At INFO it logs each address that is asked.
        "httpx2": {"level": "DEBUG" if LOG_LEVEL == "DEBUG" else "WARNING"},
        # At DEBUG it tells the headers of upstreams' answers, cookies among them.
        "httpcore2": {"level": "WARNING"},
        # Each request has its line already, without the query: a callback's has the code in it.
        "uvicorn.access": {"handlers": [], "propagate": False},
    },
}
