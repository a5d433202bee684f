"""An environment in which nothing may reach AWS."""

from __future__ import annotations

HOSTILE = {
    "AWS_PROFILE": "production",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_ENDPOINT_URL": "https://dynamodb.eu-central-1.amazonaws.com",
    "AWS_ENDPOINT_URL_KMS": "https://kms.eu-central-1.amazonaws.com",
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_CONFIG_FILE": "/home/somebody/.aws/config",
    "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/real",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:5/real",
    "AWS_MAX_ATTEMPTS": "nine",
    "KMS_KEY_ARN": "arn:aws:kms:eu-central-1:123456789012:key/real",
    "SESSIONS_TABLE": "production",
    "SESSIONS_NAMESPACE": "production",
    "DATABASE_URL": "postgres://production.example/gateway",
    "DJANGO_SECRET_KEY": "production-secret" * 5,
    "DJANGO_SETTINGS_MODULE": "somebody.elses",
    "ALLOWED_HOSTS": "gateway.example.com",
    "OAUTH_LOCAL_ISSUER": "https://evil.example",
    "PROXY_SCHEME_HEADER": "X-Forwarded-Proto",
    "http_proxy": "http://proxy.example:3128",
    "no_proxy": "intranet.example",
}
