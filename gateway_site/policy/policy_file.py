"""The file of rules: TOML with `[[rule]]` tables. What is wrong anywhere rejects all of it.

A typing error must not open or close anything silently: unknown members, lists without a member, a
`*` that is not at the end and a rule that can never match are errors, which name the line.
"""

import hashlib
import re
import tomllib
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from gateway_site.environment.variable import read_file
from gateway_site.policy.client_names import find_client_problem
from gateway_site.policy.names import Names
from gateway_site.policy.rules import ALLOW, DENY, Rule, Rules
from gateway_site.policy.spellings import is_plain_uri, may_be_plain, spelled_plainly
from gateway_site.policy.subjects import METHODS_ABOUT, PROMPTS, RESOURCES, TOOLS
from sessions_kms.hints import page

NEWLINE = "\n"
CORRECT = f"Correct it there: {page('policy')} shows the format."
FILE_MAX = 256 * 1024  # bytes
RULES_MAX = 1000
KINDS = (TOOLS, RESOURCES, PROMPTS)
MEMBERS = ("action", "groups", "clients", "methods", *KINDS)
HEADER = re.compile(r"[ \t]*\[\[[ \t]*rule[ \t]*\]\][ \t]*(?:#.*)?")
FORMS = {
    # Without blanks at the ends, and what cannot be seen.
    "groups": re.compile(
        r"(?!\s)[^*\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]{1,256}(?<!\s)"
    ),
    "clients": re.compile(r"[!-)+-~]{1,256}"),
    "methods": re.compile(r"(?=.{1,128}$)[A-Za-z0-9_/.$-]*\*?"),
    TOOLS: re.compile(r"(?=.{1,128}$)[!-)+-~]*\*?"),
    PROMPTS: re.compile(r"(?=.{1,128}$)[!-)+-~]*\*?"),
    RESOURCES: re.compile(r"(?=.{1,1024}$)[!-)+-~]*\*?"),
}
# What is denied is denied in all spellings that a server may take for the same.
SPELLED: dict[str, Callable[[str], str]] = {
    "methods": spelled_plainly,
    TOOLS: str.casefold,
    PROMPTS: str.casefold,
    RESOURCES: lambda address: unquote(address).casefold(),
}
RESERVED = ":/?#[]@!$&'()*+,;=%"  # RFC 3986 section 2.2; `%` as it was decoded
WRONG_FORM = {
    "groups": "is not a group: groups have no wildcards, and no blanks at their ends",
    "clients": "is not a client: clients have no wildcards",
}


class InvalidPolicy(ValueError):
    """A file that cannot be used. The text says why, with the line."""


def load_rules(path: str | Path, listed: Collection[str]) -> Rules:
    """Return the rules of a file. Raises InvalidPolicy.

    `listed` are the ids of the operator's clients, which the rules may name.
    """
    try:
        data = read_file(Path(path), FILE_MAX)
    except ValueError as error:
        raise InvalidPolicy(str(error)) from None
    rules = read_rules(data)
    for rule in rules.rules:
        for name in sorted(rule.clients or ()):
            if problem := find_client_problem(name, listed):
                raise InvalidPolicy(f"Line {rule.line}: clients: {name!r} {problem}.")
    return rules


def read_rules(data: bytes) -> Rules:
    """Return the rules of a file's content. Raises InvalidPolicy."""
    try:
        text = data.decode("utf-8")
        document = tomllib.loads(text)
    except UnicodeError:
        raise InvalidPolicy("The file is not UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        at = str(error).replace("at end of document", f"at line {text.count(NEWLINE) + 1}, the end")
        raise InvalidPolicy(f"The file is not valid TOML: {at}. {CORRECT}") from None
    except RecursionError:
        raise InvalidPolicy(f"The file is not valid TOML: too many levels. {CORRECT}") from None
    tables = document.pop("rule", [])
    if document:
        raise InvalidPolicy(f"{min(document)!r} is unknown: only [[rule]] may be there.")
    lines = _find_lines(text)
    if not isinstance(tables, list) or len(tables) != len(lines):
        raise InvalidPolicy("Begin each rule with a line [[rule]].")
    if not 0 < len(tables) <= RULES_MAX:
        raise InvalidPolicy(f"The file must have 1 to {RULES_MAX} rules.")
    rules = [_read_rule(table, line) for table, line in zip(tables, lines, strict=True)]
    return Rules(rules, hashlib.sha256(data).hexdigest())


def _find_lines(text: str) -> list[int]:
    lines = text.replace("\r\n", "\n").split("\n")
    return [number for number, line in enumerate(lines, 1) if HEADER.fullmatch(line)]


def _read_rule(table: Any, line: int) -> Rule:
    if not isinstance(table, dict):
        raise InvalidPolicy(f"Line {line}: the rule must be a table.")
    if unknown := sorted(table.keys() - set(MEMBERS)):
        raise InvalidPolicy(
            f"Line {line}: {unknown[0]!r} is unknown; a rule has {', '.join(MEMBERS)}."
        )
    action = table.get("action")
    if action not in (ALLOW, DENY):
        raise InvalidPolicy(f'Line {line}: the action must be "{ALLOW}" or "{DENY}".')
    read = {name: _read_list(table[name], name, line) for name in MEMBERS[1:] if name in table}
    methods, names = _read_names(read, line, is_denied=action == DENY)
    return Rule(
        line=line,
        action=action,
        groups=frozenset(read["groups"]) if "groups" in read else None,
        clients=frozenset(read["clients"]) if "clients" in read else None,
        methods=methods,
        names=names,
    )


def _read_names(
    read: dict[str, list[str]], line: int, *, is_denied: bool
) -> tuple[Names | None, dict[str, Names]]:
    """Return the methods of a rule, if it names any, and the names of each kind of subject."""
    spelled = SPELLED if is_denied else {}
    names = {
        name: Names(read[name], spelled.get(name, str))
        for name in ("methods", *KINDS)
        if name in read
    }
    for address in read.get(RESOURCES, ()):
        _check_address(address, line, is_denied=is_denied)
    methods = names.pop("methods", None)
    if methods is not None:
        _check_methods(methods, names, line)
    return methods, names


def _read_list(value: Any, name: str, line: int) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidPolicy(f"Line {line}: {name} must be a list of texts.")
    if not value:
        raise InvalidPolicy(f"Line {line}: {name} is empty; leave it out for all.")
    for each in value:
        if not FORMS[name].fullmatch(each):
            why = WRONG_FORM.get(name, "is no such name; a * may only be at its end")
            raise InvalidPolicy(f"Line {line}: {name}: {each!r} {why}.")
    return list(value)


def _check_address(address: str, line: int, *, is_denied: bool) -> None:
    """Check that there are calls to which an address of a rule applies."""
    forms = [address, quote(unquote(address), safe=RESERVED)] if is_denied else [address]
    is_start = address.endswith("*")
    if not any(may_be_plain(each[:-1]) if is_start else is_plain_uri(each) for each in forms):
        raise InvalidPolicy(
            f"Line {line}: resources: {address!r} is no address that passes. These have scheme and "
            "host in lower case, a path after a host of the web, no default port, no '..' or '//', "
            "and nothing encoded that need not be."
        )


def _check_methods(methods: Names, kinds: Iterable[str], line: int) -> None:
    for kind in kinds:
        if not any(map(methods.matches, METHODS_ABOUT[kind])):
            raise InvalidPolicy(f"Line {line}: none of its methods is about {kind}.")
