"""Run the local OpenID provider: `python -m gateway_site.local.provider --port P --state FOLDER`.

The client is registered from PROVIDER_CLIENT_ID, PROVIDER_CLIENT_SECRET and
PROVIDER_REDIRECT_URIS (see `settings`). Listens on 127.0.0.1 and nowhere else.
"""

import argparse
import os

import django
import uvicorn
from django.core.asgi import get_asgi_application
from django.core.management import call_command


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway_site.local.provider")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", required=True, help="folder of its database and keys")
    options = parser.parse_args()

    os.umask(0o077)
    os.environ["PROVIDER_STATE"] = options.state
    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_site.local.provider.settings"
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    from gateway_site.local.provider import site  # noqa: PLC0415 -- its models need setup()

    site.create_rows()
    uvicorn.run(
        get_asgi_application(),
        host="127.0.0.1",
        port=options.port,
        lifespan="off",
        access_log=False,  # it would contain authorization codes
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
