"""The gateway's general variables; sign-in, clients, providers and upstreams declare their own.

The tables of docs/settings.md are generated from the declarations.
"""

from __future__ import annotations

from pathlib import Path

from gateway_site.environment.branding import DEFAULT_NAME, load_logo, parse_site_name
from gateway_site.environment.database import parse_database_url
from gateway_site.environment.languages import DEFAULT as DEFAULT_LANGUAGES
from gateway_site.environment.languages import parse_languages
from gateway_site.environment.parsers import (
    Network,
    declare_flag,
    declare_text,
    number,
    one_of,
    parse_allowed_hosts,
    parse_folder,
    parse_items,
    parse_log_level,
    parse_networks,
    parse_new_file,
    parse_origin,
    parse_scheme_header,
    parse_secret_key,
    parse_time,
)
from gateway_site.environment.variable import Variable, Variables

DAY = 24 * 3600


class GatewayVariables(Variables):
    """The general variables; `gateway_site.settings` reads them."""

    allowed_hosts = Variable[list[str]](
        "ALLOWED_HOSTS",
        parse_allowed_hosts,
        [],
        "the gateway's host names",
        shown_default="required without `PUBLIC_URL`",
    )
    audit_file = Variable(
        "AUDIT_FILE", parse_new_file, None, "file of the [audit log](audit.md); its folder exists"
    )
    audit_key_arn = declare_text(
        "AUDIT_KEY_ARN", "`AUDIT_KEY_ID` above; required with `AUDIT_FILE`"
    )
    audit_log = declare_flag(
        "AUDIT_LOG", "write the events of the [audit log](audit.md) to the log"
    )
    audit_on_full = Variable(
        "AUDIT_ON_FULL",
        one_of(("reject", "drop")),
        "reject",
        "if the audit log cannot be written: `reject` calls, or `drop` events",
    )
    connect_documents = declare_flag(
        "CONNECT_DOCUMENTS",
        "authorization servers of MCP servers can fetch documents from `PUBLIC_URL`",
    )
    csrf_trusted_origins = Variable[list[str]](
        "CSRF_TRUSTED_ORIGINS", parse_items, [], "other origins whose forms may post here"
    )
    database_url = Variable(
        "DATABASE_URL", parse_database_url, None, "the SQL database", required=True, secret=True
    )
    data_key_cache_age = Variable("DATA_KEY_CACHE_AGE", number(), 300, "`DATA_KEY_CACHE_AGE` above")
    data_key_max_stale = Variable(
        "DATA_KEY_MAX_STALE", number(), 3600, "`DATA_KEY_MAX_STALE` above"
    )
    data_key_period = Variable("DATA_KEY_PERIOD", number(), DAY, "`DATA_KEY_PERIOD` above")
    debug = declare_flag("DEBUG", "detailed error pages, for development")
    decrypt_key_arns = Variable[list[str]](
        "DECRYPT_KEY_ARNS", parse_items, [], "`DECRYPT_KEY_IDS` above"
    )
    django_secret_key = Variable(
        "DJANGO_SECRET_KEY",
        parse_secret_key,
        "",
        "50 characters or more; [rotate it](operations.md#django_secret_key) in steps",
        required=True,
        secret=True,
    )
    django_secret_key_fallbacks = Variable[list[str]](
        "DJANGO_SECRET_KEY_FALLBACKS",
        parse_items,
        [],
        "further valid keys: the next one, and former ones",
        secret=True,
    )
    drain_seconds = Variable(
        "DRAIN_SECONDS",
        number(),
        None,
        "seconds to keep serving after SIGTERM",
        shown_default="`5`",
    )
    gateway_config = declare_text(
        "GATEWAY_CONFIG", "[TOML file](#a-configuration-file) with more of these variables"
    )
    gateway_local = declare_flag(
        "GATEWAY_LOCAL",
        "never set it; `runlocal` does, to allow http on loopback",
    )
    hsts_preload = declare_flag("HSTS_PRELOAD", "allow the browsers' preload list")
    hsts_seconds = Variable(
        "HSTS_SECONDS", number(), 365 * DAY, "seconds for which browsers insist on https"
    )
    kms_key_arn = declare_text("KMS_KEY_ARN", "`KEY_ID` above", required=True)
    languages = Variable(
        "LANGUAGES",
        parse_languages,
        DEFAULT_LANGUAGES,
        "[languages](gateway.md#languages) of the pages; the first is the default",
        shown_default="`en,de`",
    )
    locale_dir = Variable(
        "LOCALE_DIR",
        parse_folder,
        None,
        "folder with catalogs of more [languages](gateway.md#languages)",
    )
    log_format = Variable(
        "LOG_FORMAT",
        one_of(("text", "json")),
        "text",
        "`text` or `json`: [the log](operations.md#the-log)",
    )
    log_level = Variable(
        "LOG_LEVEL",
        parse_log_level,
        "INFO",
        "`DEBUG`, `INFO`, `WARNING` or `ERROR`; commands do not log `INFO`",
    )
    person_cache_age = Variable(
        "PERSON_CACHE_AGE",
        number(maximum=60),
        2,
        "seconds to cache [users](operations.md#the-sql-database), 0 to 60",
    )
    proxy_scheme_header = Variable(
        "PROXY_SCHEME_HEADER",
        parse_scheme_header,
        None,
        "the proxy's header with the visitor's scheme",
    )
    public_url = Variable(
        "PUBLIC_URL",
        parse_origin,
        "",
        "`https://` and the gateway's [one host name](gateway.md#behind-a-proxy)",
    )
    sessions_absolute_timeout = Variable(
        "SESSIONS_ABSOLUTE_TIMEOUT", number(), 7 * DAY, "`ABSOLUTE_TIMEOUT` above"
    )
    sessions_idle_timeout = Variable(
        "SESSIONS_IDLE_TIMEOUT",
        number(1),
        7 * DAY,
        "seconds without a [visit](#details-of-some-variables) until a session ends",
    )
    sessions_max_per_user = Variable(
        "SESSIONS_MAX_PER_USER", number(1, 1000), None, "`MAX_SESSIONS_PER_USER` above"
    )
    sessions_namespace = Variable("SESSIONS_NAMESPACE", str, "django", "`NAMESPACE` above")
    sessions_not_before = Variable("SESSIONS_NOT_BEFORE", parse_time, None, "`NOT_BEFORE` above")
    sessions_table = declare_text("SESSIONS_TABLE", "`TABLE_NAME` above", required=True)
    site_logo = Variable(
        "SITE_LOGO",
        load_logo,
        None,
        "`https://` address or file of the [logo](gateway.md#name-logo-and-templates)",
    )
    site_name = Variable("SITE_NAME", parse_site_name, DEFAULT_NAME, "the site's name")
    skip_provider_button = declare_flag(
        "SKIP_PROVIDER_BUTTON",
        "go straight to [a single provider](gateway.md#signing-in)",
    )
    static_root = Variable(
        "STATIC_ROOT",
        Path,
        None,
        "folder that [`collectstatic`](aws.md#6-check-and-serve) fills",
    )
    templates_dir = Variable(
        "TEMPLATES_DIR",
        parse_folder,
        None,
        "folder with [your templates](gateway.md#name-logo-and-templates)",
    )
    trusted_proxies = Variable[list[Network]](
        "TRUSTED_PROXIES",
        parse_networks,
        [],
        "addresses or networks of proxies that [report clients'"
        " addresses](gateway.md#behind-a-proxy)",
    )
