"""Settings of the gateway, from its variables (docs/settings.md).

The defaults are those of production. The module can be imported without any variable, since
commands that create things need it; `checks.py` then reports what is missing. `GATEWAY_LOCAL` is
for `kms-gateway runlocal` only and relaxes what plain http on loopback requires, nothing else.
"""

import os
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.http.request import split_domain_port

from gateway_site import configuration, installation
from gateway_site.environment import admission, languages
from gateway_site.environment.admission_variables import SignInVariables
from gateway_site.environment.clients import ClientVariables
from gateway_site.environment.database import NO_DATABASE
from gateway_site.environment.gateway_variables import GatewayVariables
from gateway_site.environment.parsers import LOOPBACK_HOSTS
from gateway_site.identity.variables import IdentityVariables
from gateway_site.policy.consent_tools import find_tools
from gateway_site.policy.in_force import RulesInForce
from gateway_site.providers import configuration as providers
from gateway_site.rules.mcp_servers import check_id_jag
from gateway_site.rules.upstream import (
    find_resources,
    find_stored_claims,
    read_mcp_servers,
    read_upstreams,
)

_environment = configuration.load(os.environ)
_env = GatewayVariables(_environment)
_clients = ClientVariables(_environment)
_identity = IdentityVariables(_environment)

DEBUG = _env.debug
GATEWAY_LOCAL = _env.gateway_local
SECURE = not GATEWAY_LOCAL  # https only, which plain http on loopback cannot be
_scheme = "https" if SECURE else "http"

SECRET_KEY = _env.django_secret_key
SECRET_KEY_FALLBACKS = _env.django_secret_key_fallbacks
PUBLIC_URL = _env.public_url
if PUBLIC_URL and not PUBLIC_URL.startswith(f"{_scheme}://"):
    raise _env.error(GatewayVariables.public_url, f"must begin with {_scheme}://.")
UPSTREAMS = read_upstreams(_environment)
# The MCP servers among them that people connect, and the addresses that none of these may claim.
OAUTH_MCP_SERVERS = read_mcp_servers(_environment)
OAUTH_UPSTREAM_ORIGINS = sorted({each.origin for each in UPSTREAMS.values()})
# OAuth clients that sign in here themselves: None if they may not.
IDENTITY_KEYS = _identity.build_keys()
AUTHORIZATION_SERVER = _clients.build_server(
    {each.name: each.consent_provider for each in UPSTREAMS.values() if each.clients},
    url=PUBLIC_URL,
    scheme=_scheme,
    has_keys=IDENTITY_KEYS.to_document() is not None,
    identity_upstreams=[each.name for each in UPSTREAMS.values() if each.identity],
)
OAUTH_CLIENTS = _clients.build_lifetimes()
UPSTREAM_RULES = RulesInForce(
    UPSTREAMS.values(), AUTHORIZATION_SERVER.listed.keys() if AUTHORIZATION_SERVER else ()
)
if AUTHORIZATION_SERVER:
    AUTHORIZATION_SERVER = replace(AUTHORIZATION_SERVER, find_tools=find_tools)
ALLOWED_HOSTS = _env.allowed_hosts
if GATEWAY_LOCAL and not ALLOWED_HOSTS:
    ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
CSRF_TRUSTED_ORIGINS = _env.csrf_trusted_origins
_origin = PUBLIC_URL or (AUTHORIZATION_SERVER.issuer if AUTHORIZATION_SERVER else "")
# Tokens of this gateway's own for upstreams: None if none gets them.
IDENTITY_TOKENS = _identity.build_issuer(
    IDENTITY_KEYS, _origin, [each.name for each in UPSTREAMS.values() if each.identity]
)
if _origin and (_public_host := split_domain_port(urlsplit(_origin).netloc)[0]):
    ALLOWED_HOSTS = list(dict.fromkeys([*ALLOWED_HOSTS, _public_host]))

if GATEWAY_LOCAL and not LOOPBACK_HOSTS.issuperset(ALLOWED_HOSTS):
    raise ImproperlyConfigured(
        "GATEWAY_LOCAL serves plain http: ALLOWED_HOSTS and PUBLIC_URL may then contain "
        "only loopback names (127.0.0.1, localhost, [::1])."
    )

_required = [each for each in GatewayVariables.declarations() if each.required]
if not (GATEWAY_LOCAL or DEBUG or _origin):
    _required.append(GatewayVariables.allowed_hosts)
MISSING_VARIABLES = [each.name for each in _required if not _env.get_text(each)]

# Applications

INSTALLED_APPS = [
    "gateway_site.apps.GatewayConfig",  # first: its templates and its runserver take precedence
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
    # These two need no session, and add their headers to the 503 of the third as well.
    "django.middleware.security.SecurityMiddleware",
    "gateway_site.edge.middleware.ContentPolicyMiddleware",
    "sessions_kms.middleware.StoreUnavailableMiddleware",
    # Outside of the next one, which keeps the tokens of a request that failed.
    "gateway_site.pages.session_full.SessionFullMiddleware",
    "oauth.sign_out.SignOutMiddleware",  # before the session's: it acts after the session is saved
    "gateway_site.edge.middleware.SignedOutMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "gateway_site.edge.languages.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "oauth.sign_in.authentication.AuthenticationMiddleware",
    "gateway_site.edge.middleware.VisitMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "gateway_site.pages.session_limit.SessionLimitMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "gateway_site.urls"
ASGI_APPLICATION = "gateway_site.asgi.application"
WSGI_APPLICATION = "gateway_site.wsgi.application"  # raises ImproperlyConfigured

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # The operator's templates replace the gateway's.
        "DIRS": [_env.templates_dir] if _env.templates_dir else [],
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

DATABASES = {"default": _env.database_url or NO_DATABASE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "UTC"

# Languages of the pages. Logs, commands and responses for programs are in English.

USE_I18N = True
LANGUAGES = languages.describe(_env.languages, _env.locale_dir)
LANGUAGE_CODE = LANGUAGES[0][0]  # for visitors who want none of them
LOCALE_PATHS = [_env.locale_dir] if _env.locale_dir else []

STATIC_URL = "static/"
STATIC_ROOT = _env.static_root
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if GATEWAY_LOCAL or STATIC_ROOT is None
        else "gateway_site.edge.static_files.HashedStaticFilesStorage",
    },
}

# Sessions and the other cookies

SESSION_ENGINE = "sessions_kms.backend"
SESSION_COOKIE_AGE = _env.sessions_idle_timeout

SESSIONS_KMS: dict[str, Any] = {
    "NAMESPACE": _env.sessions_namespace,
    "DECRYPT_KEY_IDS": _env.decrypt_key_arns,
    "NOT_BEFORE": _env.sessions_not_before,
    "ABSOLUTE_TIMEOUT": _env.sessions_absolute_timeout,
    "GRANT_TIMEOUT": _clients.grant_age,
    "DATA_KEY_PERIOD": _env.data_key_period,
    "DATA_KEY_CACHE_AGE": _env.data_key_cache_age,
    "DATA_KEY_MAX_STALE": _env.data_key_max_stale,
    "ANONYMOUS_MAX_SIZE": 64 * 1024,  # bytes; a sign-up that is not complete holds tokens
}
_optional = {
    "MAX_SESSIONS_PER_USER": _env.sessions_max_per_user,
    "AUDIT_KEY_ID": _env.audit_key_arn,
    "KEY_ID": _env.kms_key_arn,
    "TABLE_NAME": _env.sessions_table,
}
SESSIONS_KMS |= {name: value for name, value in _optional.items() if value}

# Cookies ignore ports, so a local run needs names that no other site on loopback uses.
COOKIE_PREFIX = "__Host-" if SECURE else "gateway_"
SESSION_COOKIE_NAME = COOKIE_PREFIX + "sessionid"
SESSION_COOKIE_SECURE = SECURE
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = COOKIE_PREFIX + "csrftoken"
CSRF_COOKIE_SECURE = SECURE
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_NAME = COOKIE_PREFIX + "language"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SECURE = SECURE
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
# In a cookie: messages in the session would create one for a visitor who has just signed out.
MESSAGE_STORAGE = "gateway_site.edge.messages.MessageStorage"
MESSAGE_COOKIE_NAME = COOKIE_PREFIX + "messages"
OAUTH_LOGOUT_COOKIE_NAME = COOKIE_PREFIX + "logout"  # from a sign-out to the provider's response
SIGNED_OUT_COOKIE_NAME = COOKIE_PREFIX + "signed-out"

# Transport and headers

SECURE_SSL_REDIRECT = SECURE
TRUSTED_PROXIES = _env.trusted_proxies
SECURE_PROXY_SSL_HEADER = _env.proxy_scheme_header
SECURE_HSTS_SECONDS = _env.hsts_seconds if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = _env.hsts_preload
# security.W021: preloading binds a whole domain for months, so its owner has to choose it.
SILENCED_SYSTEM_CHECKS = [] if SECURE_HSTS_PRELOAD else ["security.W021"]
# The engine's errors of settings whose variables are missing, which is an error already.
SILENCED_SYSTEM_CHECKS += [
    check
    for check, name in (
        ("sessions_kms.E003", GatewayVariables.kms_key_arn.name),
        ("sessions_kms.E004", GatewayVariables.sessions_table.name),
    )
    if name in MISSING_VARIABLES
]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# Seconds for which a process that was asked to end keeps serving, so that load balancers notice.
DRAIN_SECONDS = _env.drain_seconds
if DRAIN_SECONDS is None:
    DRAIN_SECONDS = 0 if GATEWAY_LOCAL else 5

OAUTH_PROVIDERS = providers.read_providers(
    _environment,
    find_resources(UPSTREAMS.values()),
    UPSTREAM_RULES.groups,
    find_stored_claims(UPSTREAMS.values()),
)
providers.require_open_upstreams(
    OAUTH_PROVIDERS,
    {each.provider for each in UPSTREAMS.values() if each.clients and each.identity},
)

SITE_NAME = _env.site_name
# How the gateway describes itself to the authorization servers of MCP servers.
OAUTH_MCP_CLIENT = {
    "name": SITE_NAME,
    "origin": PUBLIC_URL,
    "documents": _env.connect_documents,
}
if _env.connect_documents and not PUBLIC_URL:
    raise _env.error(GatewayVariables.connect_documents, "needs PUBLIC_URL.")
check_id_jag(
    OAUTH_MCP_SERVERS,
    {each.name: each.issuer for each in OAUTH_PROVIDERS},
    documents=_env.connect_documents,
)
SITE_LOGO = _env.site_logo
# Providers of which every account may sign in. If anybody can open one, that is an error.
OPEN_PROVIDERS = admission.require_rules(_environment, OAUTH_PROVIDERS, UPSTREAM_RULES.groups)
SIGN_IN_CONTACT = SignInVariables(_environment).contact  # for people who may not sign in

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

# Seconds for which calls of upstreams, and pages that only show something, may use a cached user.
PERSON_CACHE_AGE = _env.person_cache_age

# Signing in

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_LOGOUT_REDIRECT_URL = "home"

SKIP_PROVIDER_BUTTON = _env.skip_provider_button
SOCIALACCOUNT_ONLY = True
ACCOUNT_EMAIL_VERIFICATION = "none"
# Neither is asked for: a form would reveal which ones exist (`oauth.sign_in.accounts`).
ACCOUNT_SIGNUP_FIELDS = ["username*", "email"]
ACCOUNT_ADAPTER = "gateway_site.account_adapter.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "oauth.adapter.SocialAccountAdapter"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS = providers.social_providers(OAUTH_PROVIDERS)
if SECURE:
    ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https"

# The audit log

AUDIT_FILE = _env.audit_file
AUDIT_LOG = _env.audit_log
AUDIT_ON_FULL = _env.audit_on_full
if AUDIT_FILE and not _env.audit_key_arn:
    raise _env.error(GatewayVariables.audit_key_arn, "is required with AUDIT_FILE.")

# Logs and error reports

DEFAULT_EXCEPTION_REPORTER = "gateway_site.edge.reports.ExceptionReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "gateway_site.edge.reports.ExceptionReporterFilter"

LOG_LEVEL = _env.log_level
if LOG_LEVEL == "INFO" and installation.is_command():
    LOG_LEVEL = "WARNING"  # The output of a command is not mixed with lines of the log.

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "refusals": {"()": "gateway_site.edge.reports.RefusalFilter"},
        "refusals_told": {"()": "gateway_site.edge.access_log.RejectionFilter"},
        "request_ids": {"()": "gateway_site.edge.access_log.RequestIds"},
        "once_per_minute": {"()": "sessions_kms.outages.OncePerMinute"},
    },
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
        "json": {"()": "gateway_site.edge.json_log.JSONFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": _env.log_format,
            "filters": ["request_ids", "refusals", "once_per_minute"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        # Each rejected request has a line in the access log.
        "django.request": {"filters": ["refusals_told"]},
        "sessions_kms.refused": {"level": "CRITICAL"},
        # At INFO it logs where it found its credentials, each time.
        "botocore": {"level": "DEBUG" if LOG_LEVEL == "DEBUG" else "WARNING"},
        # Its warnings of failed attempts are several lines; a command reports the failure itself.
        "psycopg.pool": {"level": "ERROR" if installation.is_command() else LOG_LEVEL},
        # At INFO it logs each address that is called.
        "httpx2": {"level": "DEBUG" if LOG_LEVEL == "DEBUG" else "WARNING"},
        # At DEBUG it logs the headers of upstreams' responses, including cookies.
        "httpcore2": {"level": "WARNING"},
        # Each request has a line already, without its query: a callback's contains the code.
        "uvicorn.access": {"handlers": [], "propagate": False},
    },
}
