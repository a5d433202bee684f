"""Say where an AWS client of this environment would go: `python -m gateway_site.local.endpoints`.

It asks the SDK itself, in a process of its own, so that nothing about its order of
precedence is assumed here. No call leaves the process.
"""

import json
import sys

import boto3

SERVICES = ("dynamodb", "kms")


def main() -> None:
    urls = {name: boto3.client(name).meta.endpoint_url for name in SERVICES}  # type: ignore[call-overload]  # a name at a time
    json.dump(urls, sys.stdout)


if __name__ == "__main__":
    main()
