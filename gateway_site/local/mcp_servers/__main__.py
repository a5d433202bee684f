"""Run a local MCP server: `python -m gateway_site.local.mcp_servers --port P demo|notes …`.

It listens on 127.0.0.1 and nowhere else.
"""

import argparse
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from gateway_site.local.mcp_servers import demo, notes
from gateway_site.local.mcp_servers.authorization import Authorization
from gateway_site.local.state import make_private_folder


def build_demo(options: argparse.Namespace, origin: str) -> Starlette:
    verifier = demo.UserinfoVerifier(options.issuer + options.userinfo)
    return demo.build_site(verifier, options.issuer, f"{origin}/mcp")


def build_notes(options: argparse.Namespace, origin: str) -> Starlette:
    issuer = f"{origin}/"  # with the slash that pydantic adds
    file = make_private_folder(options.state) / "records.json"
    return notes.build_site(Authorization(issuer, f"{issuer}mcp", file, options.token_life))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway_site.local.mcp_servers")
    parser.add_argument("--port", type=int, required=True)
    modes = parser.add_subparsers(required=True)
    mode = modes.add_parser("demo")
    mode.set_defaults(build=build_demo)
    mode.add_argument("--issuer", required=True, help="the provider's address")
    mode.add_argument("--userinfo", required=True, help="the provider's userinfo path")
    mode = modes.add_parser("notes")
    mode.set_defaults(build=build_notes)
    mode.add_argument("--state", type=Path, required=True, help="folder of its clients and grants")
    mode.add_argument("--token-life", type=int, default=3600, help="of access tokens, in seconds")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    uvicorn.run(
        options.build(options, f"http://127.0.0.1:{options.port}"),
        host="127.0.0.1",
        port=options.port,
        access_log=False,  # it would contain authorization codes
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
