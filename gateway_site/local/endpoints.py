"""Read this environment as the gateway will: `python -m gateway_site.local.endpoints`.

Says where an AWS client of it would go. It asks the SDK itself, in a process of its own, so
that nothing about its order of precedence is assumed here. No call leaves the process. A
mistake in the settings is an error before anything of the stack is started.
"""

import importlib
import json
import os
import sys

import boto3

SERVICES = ("dynamodb", "kms")


def main() -> None:
    importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
    urls = {name: boto3.client(name).meta.endpoint_url for name in SERVICES}  # type: ignore[call-overload]  # a name at a time
    json.dump(urls, sys.stdout)


if __name__ == "__main__":
    main()
