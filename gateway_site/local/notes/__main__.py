"""Run the local notes server: `python -m gateway_site.local.notes --port P --state FOLDER`.

It listens on 127.0.0.1 and nowhere else.
"""

import argparse
from pathlib import Path

import uvicorn

from gateway_site.local.notes.authorization import Authorization
from gateway_site.local.notes.site import build_site
from gateway_site.local.state import make_private_folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway_site.local.notes")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--state", type=Path, required=True, help="folder of its clients and grants"
    )
    parser.add_argument("--token-life", type=int, default=3600, help="of access tokens, in seconds")
    options = parser.parse_args()
    issuer = f"http://127.0.0.1:{options.port}/"  # with the slash that pydantic adds
    file = make_private_folder(options.state) / "records.json"
    authorization = Authorization(issuer, f"{issuer}mcp", file, options.token_life)
    uvicorn.run(
        build_site(authorization),
        host="127.0.0.1",
        port=options.port,
        access_log=False,  # it would contain authorization codes
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
