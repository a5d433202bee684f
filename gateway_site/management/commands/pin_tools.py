"""`manage.py pin_tools`: the tools of an MCP server, compared with those that are pinned."""

import getpass
import os
import re
import sys
import tempfile
from argparse import ArgumentParser
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway_site.management.tool_difference import Difference, compare
from gateway_site.management.tool_lists import ListedTools, NoToolList, list_tools
from gateway_site.management.upstreams import find_upstream
from gateway_site.mcp.json_text import JSONObject
from gateway_site.policy.pinned_tools import (
    NAME,
    InvalidPins,
    compute_digest,
    format_file,
    is_pinnable,
    load_pins,
    read_bounded,
    read_definitions,
)
from gateway_site.rules import url_rules
from gateway_site.rules.upstream import Upstream, UpstreamVariables
from oauth.mcp.servers import find_server
from sessions_kms.hints import page
from sessions_kms.management.base import OperatorCommand, UsageError, shown

TOKEN = re.compile(r"[!-~]+")
DIFFERENT = 1


class Command(OperatorCommand):
    help = (
        "Compare the tools that an MCP server lists with those that are pinned, and pin them with "
        f"--write ({page('policy', 'Pinned tools')}). The server is asked in each version of the "
        "protocol that it speaks. Exit status: 0 nothing differs, or it was written; 1 something "
        "differs; 2 wrong options, or the tools cannot be compared."
    )
    changes = False
    requires_system_checks = ()  # Their status 1 has another meaning here.

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="UPSTREAM", help="the upstream, such as notes")
        parser.add_argument("--write", action="store_true", help="pin the listed tools")
        parser.add_argument(
            "--file", help="the file of pinned tools; UPSTREAM_<NAME>_TOOLS_PINNED by default"
        )
        parser.add_argument("--path", default="", help="the server's path below the upstream's URL")
        source = parser.add_mutually_exclusive_group()
        source.add_argument(
            "--from",
            dest="saved",
            metavar="FILE",
            help='take the tools from a file, {"tools": […]}, without asking the server',
        )
        source.add_argument(
            "--token-env",
            metavar="VARIABLE",
            help="take the access token from this environment variable, not from a prompt",
        )
        source.add_argument("--no-token", action="store_true", help="the server needs no token")
        super().add_arguments(parser)

    def operate(self, options: dict[str, Any]) -> None:
        upstream = find_upstream(options["name"])
        file = _find_file(upstream, options["file"])
        try:
            pinned = load_pins(file).definitions if file.exists() else ()
            listed = self._list(upstream, options)
        except (InvalidPins, NoToolList) as error:
            raise UsageError(str(error)) from None
        tools, left_out = _select(listed)
        difference = compare(pinned, tools)
        must_write = options["write"] and (bool(difference) or not file.exists())
        if must_write:
            _write(file, format_file(tools))
        self._conclude(difference, listed, left_out, file, written=must_write)

    def _list(self, upstream: Upstream, options: dict[str, Any]) -> list[ListedTools]:
        __traceback_hide__ = True
        if options["saved"]:
            return [ListedTools("", read_definitions(read_bounded(options["saved"])))]
        url = _url_of(upstream, options["path"])
        return list_tools(upstream, url, None if options["no_token"] else _read_token(options))

    def _conclude(
        self,
        difference: Difference,
        listed: list[ListedTools],
        left_out: list[str],
        file: Path,
        *,
        written: bool,
    ) -> None:
        versions = [each.version for each in listed if each.version]
        result = {
            "file": str(file),
            "versions": versions,
            "new": difference.new,
            "gone": difference.gone,
            "changed": difference.changed,
            "same": difference.same,
            "left_out": left_out,
            "written": written,
        }
        lines = [*difference.lines]
        if versions:
            lines.append(f"Listed in {', '.join(versions)}.")
        lines += [
            f"Left out, since it has an odd name, or is there twice: {shown(each)}"
            for each in left_out
        ]
        lines.append(difference.summary)
        if written:
            lines.append(f"Written to {file}. Send SIGHUP to the gateway, or restart it.")
        status = DIFFERENT if difference and not written else 0
        self.conclude(result, "\n".join(lines), status=status)


def _find_file(upstream: Upstream, given: str | None) -> Path:
    path = given or upstream.tools_pinned
    if not path:
        variable = f"UPSTREAM_{upstream.name.upper()}_{UpstreamVariables.tools_pinned.name}"
        raise UsageError(f"{variable} is not set: name the file with --file.")
    return Path(path).resolve()


def _url_of(upstream: Upstream, path: str) -> str:
    """Return the address of the MCP server: as declared, or below the upstream's."""
    server = find_server(upstream.name)
    if server is not None and not path:
        return server.url
    try:
        url_rules.check_path(path)
        return url_rules.target_url(upstream, path, b"")
    except url_rules.UnsafeAddress as error:
        raise UsageError(f"{error} --path is a path such as /mcp.") from None


def _read_token(options: dict[str, Any]) -> str:
    """Return the token, which is never on the command line: other users may read that."""
    __traceback_hide__ = True
    variable = options["token_env"]
    if variable:
        token = os.environ.get(variable, "").strip()
    elif sys.stdin.isatty():
        token = getpass.getpass("Access token of the MCP server: ").strip()
    else:
        raise UsageError("No terminal to ask for a token: use --token-env or --no-token.")
    if not TOKEN.fullmatch(token):
        raise UsageError("The token is missing, or has characters that no token has.")
    return token


def _select(listed: list[ListedTools]) -> tuple[list[JSONObject], list[str]]:
    """Return the tools that can be pinned, and the names of the others."""
    found: dict[str, JSONObject] = {}
    left_out: list[str] = []
    for each in listed:
        counts = Counter(str(tool.get(NAME)) for tool in each.tools)
        for tool in each.tools:
            name = str(tool.get(NAME))
            # A saved list may have several definitions of a tool, as a file of pinned ones has.
            is_twice = counts[name] > 1 and bool(each.version)
            if is_pinnable(tool) and not is_twice:
                found[compute_digest(tool)] = tool
            elif name not in left_out:
                left_out.append(name)
    return list(found.values()), left_out


def _write(file: Path, text: str) -> None:
    """Replace a file in one step; a new one gets the usual permissions. Raises UsageError."""
    temporary = None
    try:
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", newline="\n", dir=file.parent, delete=False
        ) as made:
            temporary = Path(made.name)
            made.write(text)
            made.flush()
            os.fsync(made.fileno())
        temporary.chmod(mode)
        temporary.replace(file)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        raise UsageError(
            f"{file} cannot be written: {error.strerror}. Let your user write to its folder, or"
            " name another file with --file."
        ) from None


def _umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found
