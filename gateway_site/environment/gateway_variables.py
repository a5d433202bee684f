"""The gateway's general variables; sign-in, clients, providers and upstreams declare their own.

The tables of docs/settings.md are generated from the declarations.
"""

from __future__ import annotations

from gateway_site.environment.branding import DEFAULT_NAME, load_logo, parse_site_name
from gateway_site.environment.database import parse_database_url
from gateway_site.environment.parsers import (
    Network,
    number,
    parse_allowed_hosts,
    parse_flag,
    parse_folder,
    parse_items,
    parse_log_level,
    parse_networks,
    parse_origin,
    parse_scheme_header,
    parse_secret_key,
    parse_text,
    parse_time,
)
from gateway_site.environment.variable import Variable, Variables

DAY = 24 * 3600


class GatewayVariables(Variables):
    """Each is read in `gateway_site.settings`, and checked when it is read."""

    allowed_hosts = Variable[list[str]](
        "ALLOWED_HOSTS",
        parse_allowed_hosts,
        default=[],
        shown_default="required without `PUBLIC_URL`",
        help_text="host names under which the gateway is reached, separated by commas",
    )
    csrf_trusted_origins = Variable[list[str]](
        "CSRF_TRUSTED_ORIGINS",
        parse_items,
        default=[],
        help_text="other origins whose forms may post here",
    )
    database_url = Variable(
        "DATABASE_URL",
        parse_database_url,
        default=None,
        required=True,
        secret=True,
        help_text="the SQL database",
    )
    data_key_cache_age = Variable(
        "DATA_KEY_CACHE_AGE",
        number(),
        default=300,
        help_text="the setting `DATA_KEY_CACHE_AGE` above",
    )
    data_key_max_stale = Variable(
        "DATA_KEY_MAX_STALE",
        number(),
        default=3600,
        help_text="the setting `DATA_KEY_MAX_STALE` above",
    )
    data_key_period = Variable(
        "DATA_KEY_PERIOD",
        number(),
        default=DAY,
        help_text="the setting `DATA_KEY_PERIOD` above",
    )
    debug = Variable(
        "DEBUG",
        parse_flag,
        default=False,
        help_text="whether error pages show details, for development",
    )
    decrypt_key_arns = Variable[list[str]](
        "DECRYPT_KEY_ARNS",
        parse_items,
        default=[],
        help_text="the setting `DECRYPT_KEY_IDS` above",
    )
    django_secret_key = Variable(
        "DJANGO_SECRET_KEY",
        parse_secret_key,
        default="",
        required=True,
        secret=True,
        help_text="Django's key, 50 characters or more; rotate it"
        " [in two steps](operations.md#django_secret_key)",
    )
    django_secret_key_fallbacks = Variable[list[str]](
        "DJANGO_SECRET_KEY_FALLBACKS",
        parse_items,
        default=[],
        secret=True,
        help_text="other valid keys, separated by commas: the next one before any process uses it,"
        " and former ones for as long as a session lasts",
    )
    drain_seconds = Variable(
        "DRAIN_SECONDS",
        number(),
        default=None,
        shown_default="`5`",
        help_text="seconds for which a process that was asked to end keeps serving",
    )
    gateway_local = Variable(
        "GATEWAY_LOCAL",
        parse_flag,
        default=False,
        help_text="never set it: `make run` does, to allow plain http on loopback",
    )
    hsts_preload = Variable(
        "HSTS_PRELOAD",
        parse_flag,
        default=False,
        help_text="whether the domain may enter the browsers' preload list",
    )
    hsts_seconds = Variable(
        "HSTS_SECONDS",
        number(),
        default=365 * DAY,
        help_text="seconds for which browsers insist on https",
    )
    kms_key_arn = Variable(
        "KMS_KEY_ARN", parse_text, default="", required=True, help_text="the setting `KEY_ID` above"
    )
    log_level = Variable(
        "LOG_LEVEL",
        parse_log_level,
        default="INFO",
        help_text="`DEBUG`, `INFO`, `WARNING` or `ERROR`; commands do not log `INFO`",
    )
    person_cache_age = Variable(
        "PERSON_CACHE_AGE",
        number(maximum=60),
        default=2,
        help_text="seconds for which a process caches a user from the database, 0 to 60"
        " ([operations.md](operations.md#the-sql-database))",
    )
    proxy_scheme_header = Variable(
        "PROXY_SCHEME_HEADER",
        parse_scheme_header,
        default=None,
        help_text="the header in which a proxy says that the visitor used https",
    )
    public_url = Variable(
        "PUBLIC_URL",
        parse_origin,
        default="",
        help_text="the one address of the gateway: `https://` and a host name, without a path"
        " ([gateway.md](gateway.md#behind-a-proxy))",
    )
    sessions_absolute_timeout = Variable(
        "SESSIONS_ABSOLUTE_TIMEOUT",
        number(),
        default=7 * DAY,
        help_text="the setting `ABSOLUTE_TIMEOUT` above",
    )
    sessions_idle_timeout = Variable(
        "SESSIONS_IDLE_TIMEOUT",
        number(1),
        default=7 * DAY,
        help_text="seconds without a visit after which a session ends",
    )
    sessions_namespace = Variable(
        "SESSIONS_NAMESPACE",
        parse_text,
        default="django",
        help_text="the setting `NAMESPACE` above",
    )
    sessions_not_before = Variable(
        "SESSIONS_NOT_BEFORE",
        parse_time,
        default=None,
        help_text="the setting `NOT_BEFORE` above",
    )
    sessions_table = Variable(
        "SESSIONS_TABLE",
        parse_text,
        default="",
        required=True,
        help_text="the setting `TABLE_NAME` above",
    )
    site_logo = Variable(
        "SITE_LOGO",
        load_logo,
        default=None,
        help_text="the image beside the name: an `https://` address or a file"
        " ([gateway.md](gateway.md#name-logo-and-templates))",
    )
    site_name = Variable(
        "SITE_NAME", parse_site_name, default=DEFAULT_NAME, help_text="the site's name on its pages"
    )
    skip_provider_button = Variable(
        "SKIP_PROVIDER_BUTTON",
        parse_flag,
        default=False,
        help_text="whether people go straight to a single provider, without pressing its button"
        " ([gateway.md](gateway.md#signing-in))",
    )
    templates_dir = Variable(
        "TEMPLATES_DIR",
        parse_folder,
        default=None,
        help_text="a folder whose templates replace the gateway's"
        " ([gateway.md](gateway.md#name-logo-and-templates))",
    )
    trusted_proxies = Variable[list[Network]](
        "TRUSTED_PROXIES",
        parse_networks,
        default=[],
        help_text="proxies that may say what the client's address is: addresses or networks"
        " ([gateway.md](gateway.md#behind-a-proxy))",
    )
