"""Settings of the test suite: the gateway's own, under an environment of the tests' making.

Nothing of the developer's environment gets in; no value here reaches anything real.
"""

import os

for _name in list(os.environ):
    if _name.startswith(("OAUTH_", "AWS_", "SESSIONS_", "SIGN_IN_", "DATA_KEY_")):
        del os.environ[_name]

os.environ |= {
    "DJANGO_SECRET_KEY": "tests-only-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ",
    "DJANGO_SECRET_KEY_FALLBACKS": "",
    "GATEWAY_LOCAL": "1",
    "DEBUG": "0",
    "ALLOWED_HOSTS": "127.0.0.1,localhost",
    "CSRF_TRUSTED_ORIGINS": "",
    "PROXY_SCHEME_HEADER": "",
    "LOG_LEVEL": "INFO",
    "DATABASE_URL": "sqlite://:memory:",
    "KMS_KEY_ARN": "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555",
    "DECRYPT_KEY_ARNS": "",
    "SESSIONS_TABLE": "sessions-tests",
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "eu-central-1",
}

from gateway_site.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# The tests run on any Python that is supported.
SILENCED_SYSTEM_CHECKS = [*SILENCED_SYSTEM_CHECKS, "sessions_kms.W010"]  # noqa: F405
ROOT_URLCONF = "tests.oauth.clients.support.urls"
