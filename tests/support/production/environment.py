"""The environment of the gateway in its own process: real settings, one provider, one upstream."""

from pathlib import Path

from tests.support.production.aws import AWS, REGION, TABLE

UPSTREAM = "bench"
# Also allows OAuth clients.
CLIENTS = {"AUTHORIZATION_ISSUER": "http://127.0.0.1:9", "UPSTREAM_BENCH_CLIENTS": "1"}


def environment(aws: AWS, folder: Path, *, issuer: str, upstream: str) -> dict[str, str]:
    """Return the gateway's variables, without those of AWS."""
    return {
        "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
        "DJANGO_SECRET_KEY": "bench-only-" + "0123456789abcdef" * 3,
        "GATEWAY_LOCAL": "1",
        "ALLOWED_HOSTS": "127.0.0.1",
        "LOG_LEVEL": "WARNING",
        # Kept open, like connections to PostgreSQL.
        "DATABASE_URL": f"sqlite:///{folder / 'gateway.sqlite3'}?conn_max_age=60",
        "AWS_REGION": REGION,
        "KMS_KEY_ARN": aws.key_arn,
        "SESSIONS_TABLE": TABLE,
        "OAUTH_CORP_CLIENT_ID": "gateway-client",
        "OAUTH_CORP_CLIENT_SECRET": "gateway-secret-canary",
        "OAUTH_CORP_ISSUER": issuer,
        "UPSTREAM_BENCH_URL": upstream,
        "UPSTREAM_BENCH_PROVIDER": "corp",
        "UPSTREAM_BENCH_MAX_CONCURRENT": "4096",
    }
