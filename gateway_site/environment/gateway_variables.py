"""The gateway's general variables; sign-in, clients, providers and upstreams declare their own.

The tables of docs/settings.md are generated from the declarations.
"""

from pathlib import Path

from gateway_site.environment.branding import DEFAULT_NAME, load_logo, parse_site_name
from gateway_site.environment.database import parse_database_url
from gateway_site.environment.languages import DEFAULT as DEFAULT_LANGUAGES
from gateway_site.environment.languages import parse_languages
from gateway_site.environment.parsers import (
    Network,
    declare_flag,
    declare_text,
    engine_setting,
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
    to_number,
)
from gateway_site.environment.variable import Variable, Variables, list_parser

DAY = 24 * 3600


class GatewayVariables(Variables):
    """The general variables; `gateway_site.settings` reads them."""

    allowed_hosts = Variable[list[str]](
        parse_allowed_hosts,
        [],
        "the gateway's host names",
        shown_default="required without `PUBLIC_URL`",
    )
    audit_file = Variable(
        parse_new_file, None, "file of the [audit log](audit.md); its folder must exist"
    )
    audit_key_arn = Variable(
        engine_setting("AUDIT_KEY_ID"), "", "`AUDIT_KEY_ID` above; required with `AUDIT_FILE`"
    )
    audit_log = declare_flag("also write [audit events](audit.md) to the log")
    audit_on_full = Variable(
        one_of(("reject", "drop")),
        "reject",
        "`reject` calls or `drop` events if the audit log fails",
    )
    connect_documents = declare_flag(
        "publish documents at `PUBLIC_URL` for authorization servers of MCP servers"
    )
    csrf_trusted_origins = Variable[list[str]](
        parse_items, [], "other origins whose forms may post here"
    )
    database_url = Variable(
        parse_database_url, None, "URL of the SQL database", required=True, secret=True
    )
    data_key_cache_age = Variable(
        engine_setting("DATA_KEY_CACHE_AGE", to_number), 300, "`DATA_KEY_CACHE_AGE` above"
    )
    data_key_max_stale = Variable(
        engine_setting("DATA_KEY_MAX_STALE", to_number), 3600, "`DATA_KEY_MAX_STALE` above"
    )
    data_key_period = Variable(
        engine_setting("DATA_KEY_PERIOD", to_number), DAY, "`DATA_KEY_PERIOD` above"
    )
    debug = declare_flag("detailed error pages, for development")
    decrypt_key_arns = Variable[tuple[str, ...]](
        list_parser(engine_setting("DECRYPT_KEY_IDS", parse_items)), (), "`DECRYPT_KEY_IDS` above"
    )
    django_secret_key = Variable(
        parse_secret_key,
        "",
        "50 characters or more; [rotate it](operations.md#django_secret_key) in steps",
        required=True,
        secret=True,
    )
    django_secret_key_fallbacks = Variable[list[str]](
        parse_items, [], "the next key, and former ones", secret=True
    )
    drain_seconds = Variable(
        number(),
        None,
        "seconds to [keep serving](deployment.md#stop-kill-and-start-again) after SIGTERM",
        shown_default="`5`",
    )
    gateway_config = declare_text("[TOML file](#a-configuration-file) with more of these variables")
    gateway_local = declare_flag("only `runlocal` sets it")
    hsts_preload = declare_flag("allow entry in the browsers' preload list")
    hsts_seconds = Variable(number(), 365 * DAY, "seconds for which browsers insist on https")
    kms_key_arn = Variable(engine_setting("KEY_ID"), "", "`KEY_ID` above", required=True)
    languages = Variable(
        parse_languages,
        DEFAULT_LANGUAGES,
        "[languages](gateway.md#languages) of the pages; the first is the default",
        shown_default="`en,de`",
    )
    locale_dir = Variable(
        parse_folder, None, "folder with catalogs of more [languages](gateway.md#languages)"
    )
    log_format = Variable(
        one_of(("text", "json")), "text", "`text` or `json`, for [the log](operations.md#the-log)"
    )
    log_level = Variable(
        parse_log_level, "INFO", "`DEBUG`, `INFO`, `WARNING` or `ERROR`; commands do not log `INFO`"
    )
    person_cache_age = Variable(
        number(maximum=60), 2, "seconds to cache [users](operations.md#the-sql-database), 0 to 60"
    )
    proxy_scheme_header = Variable(
        parse_scheme_header, None, "the proxy's header with the visitor's scheme"
    )
    public_url = Variable(
        parse_origin, "", "`https://` and the gateway's [one host name](gateway.md#behind-a-proxy)"
    )
    sessions_absolute_timeout = Variable(
        engine_setting("ABSOLUTE_TIMEOUT", to_number), 7 * DAY, "`ABSOLUTE_TIMEOUT` above"
    )
    sessions_idle_timeout = Variable(
        number(1),
        7 * DAY,
        "seconds without a [visit](#details-of-some-variables) until a session ends",
    )
    sessions_max_per_user = Variable(number(1, 1000), None, "`MAX_SESSIONS_PER_USER` above")
    sessions_namespace = Variable(engine_setting("NAMESPACE"), "django", "`NAMESPACE` above")
    sessions_not_before = Variable(
        engine_setting("NOT_BEFORE", to_number), None, "`NOT_BEFORE` above"
    )
    sessions_table = Variable(engine_setting("TABLE_NAME"), "", "`TABLE_NAME` above", required=True)
    site_logo = Variable(
        load_logo,
        None,
        "`https://` address or file of the [logo](gateway.md#name-logo-and-templates)",
    )
    site_name = Variable(parse_site_name, DEFAULT_NAME, "the site's name")
    skip_provider_button = declare_flag("go straight to [a single provider](gateway.md#signing-in)")
    static_root = Variable(
        Path, None, "folder that [`collectstatic`](aws.md#6-check-and-serve) fills"
    )
    templates_dir = Variable(
        parse_folder, None, "folder with [your templates](gateway.md#name-logo-and-templates)"
    )
    trusted_proxies = Variable[list[Network]](
        parse_networks,
        [],
        "addresses or networks of proxies that [report clients'"
        " addresses](gateway.md#behind-a-proxy)",
    )
