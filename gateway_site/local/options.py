"""The options of `kms-gateway runlocal`; `python -m gateway_site.local.options` prints its help.

It uses only the standard library: `make run ARGS=--help` installs nothing.
"""

import re
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from dataclasses import dataclass
from pathlib import Path

HELP = "Run the gateway with a local DynamoDB, KMS, OpenID provider and MCP servers, on 127.0.0.1."
LOOPBACK = ("127.0.0.1", "localhost")
ADDRESS = re.compile(rf"http://({'|'.join(map(re.escape, LOOPBACK))})(?::(\d{{1,5}}))?/?", re.ASCII)
STATE = Path(".local")  # under the current folder


@dataclass(frozen=True)
class Ports:
    """The ports on 127.0.0.1 on which the children listen."""

    gateway: int = 8000
    provider: int = 9000
    kms: int = 9001
    dynamodb: int = 9002
    mcp: int = 9003
    notes: int = 9004


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    ports = Ports()
    for option, default, service in (
        ("--port", ports.gateway, "gateway"),
        ("--provider-port", ports.provider, "OpenID provider"),
        ("--kms-port", ports.kms, "KMS"),
        ("--dynamodb-port", ports.dynamodb, "DynamoDB"),
        ("--mcp-port", ports.mcp, "MCP server"),
        ("--notes-port", ports.notes, "MCP server that people connect"),
    ):
        parser.add_argument(
            option,
            type=parse_port,
            default=default,
            help=f"port of the {service} (default: {default})",
        )
    parser.add_argument(
        "--state",
        type=Path,
        default=STATE,
        help="folder for databases, keys and logs (default: .local)",
    )
    parser.add_argument(
        "--host",
        default=LOOPBACK[0],
        help="127.0.0.1 (the default) or localhost; nothing else is allowed",
    )
    parser.add_argument(
        "--public-url",
        type=parse_address,
        metavar="URL",
        help="address at which a development server passes requests on, such as "
        "http://localhost:5173; only on this machine",
    )


def parse_address(text: str) -> str:
    """Return an address on this machine as browsers write it, for argparse."""
    found = ADDRESS.fullmatch(text.lower())
    if found is None:
        raise ArgumentTypeError(
            f"{text!r} is not http:// with 127.0.0.1 or localhost, such as http://localhost:5173"
        )
    port = parse_port(found[2] or "80")
    return f"http://{found[1]}" + ("" if port == 80 else f":{port}")


def parse_port(text: str) -> int:
    """Return a port number, for argparse."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < number < 65536:
        raise ArgumentTypeError(f"invalid port: {text!r}")
    return number


if __name__ == "__main__":
    parser = ArgumentParser(
        "make run", usage='make run ARGS="[options]"', description=HELP,
        formatter_class=RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_options(parser)
    parser.print_help()
