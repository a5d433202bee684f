# ruff: noqa: RUF001, S311 - letters that look alike; chance guards nothing
"""Generated rules, callers and calls: sound ones, and ones that try to be read in two ways."""

import base64
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.gateway_site.mcp.generated import (
    ODDITIES,
    UNSEEN,
    Item,
    Pairs,
    Raw,
    any_value,
    disguise,
    write_object,
)
from tests.gateway_site.policy.reference import RuleTable, concerns

GROUPS = ("sales", "dev")
CLIENTS = ("own-1", "claude.example", "unverified")
TOOLS = ("search_a", "search_b", "read", "delete_all", "delete_one", "x" * 128)
PROMPTS = ("open", "secret", "search_a")
RESOURCES = (
    *("file:///open/a.txt", "file:///secret/a.txt", "file:///open/a%20b", "file:///secret/a:b"),
    *("db:users", "db:secret", "https://x.example/open?a=b", "https://x.example/secret/a"),
    *("https://x.example/", "note://n-1/a", "file:///", "http://127.0.0.1/secret/a"),
)
NAMES = {"tools": TOOLS, "prompts": PROMPTS, "resources": RESOURCES}
PATTERNS: dict[str, Sequence[str]] = {
    "tools": (*TOOLS, "search_*", "delete_*", "*"),
    "prompts": (*PROMPTS, "s*", "*"),
    "resources": (
        *(*RESOURCES, "file:///open/*", "file:///secret/*", "file:*", "db:*", "*"),
        *("https://x.example/open*", "https://x.example/secret/*", "file:///secret/a%3A*"),
        "http://127.0.0.1/*",
    ),
}
NAMING = {  # the methods that name something, and the member that does
    "tools/call": ("tools", "name"),
    "prompts/get": ("prompts", "name"),
    "resources/read": ("resources", "uri"),
    "resources/subscribe": ("resources", "uri"),
    "resources/unsubscribe": ("resources", "uri"),
}
COMPLETE, LISTEN = "completion/complete", "subscriptions/listen"
TASKS = ("tasks/get", "tasks/result", "tasks/cancel", "tasks/update", "tasks/list")
OTHERS = (
    *("initialize", "ping", "server/discover", "tools/list", "prompts/list", "resources/list"),
    *("resources/templates/list", "logging/setLevel", "acme/export", "tools/callback"),
    *("notifications/initialized", "notifications/cancelled", "notifications/acme"),
)
METHODS = (*NAMING, *NAMING, "tools/call", COMPLETE, LISTEN, *TASKS, *OTHERS)
METHOD_PATTERNS = (*dict.fromkeys(METHODS), "*", "tools/*", "resources/*", "tasks/*", "acme/*")
ABOUT = {
    "tools": {"tools/call"},
    "prompts": {"prompts/get", COMPLETE},
    "resources": {*list(NAMING)[2:], COMPLETE, LISTEN},
}
OLD, NEW = ("2025-03-26", "2025-06-18", "2025-11-25"), ("2026-07-28",)
VERSION = "io.modelcontextprotocol/protocolVersion"
HEADER_NAMES = {VERSION: "MCP-Protocol-Version", "method": "Mcp-Method", "name": "Mcp-Name"}
MESSAGES_PER_FILE = 10
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One message of one caller under a file of rules. A sound one can be read in one way only."""

    rules: Sequence[RuleTable]
    groups: Sequence[str]
    client: str | None
    headers: Headers = field(default_factory=list)
    data: bytes = b""
    is_sound: bool

    @property
    def toml(self) -> bytes:
        return as_toml(self.rules)


def generated_attempts(seed: int, count: int) -> Iterator[Attempt]:
    """Yield attempts, of which half are sound."""
    chance = random.Random(seed)
    rules: list[RuleTable] = []
    for number in range(count):
        if number % MESSAGES_PER_FILE == 0:
            rules = some_rules(chance)
        groups = [each for each in GROUPS if chance.random() < 0.5]
        client = chance.choice((None, *CLIENTS))
        is_sound = chance.random() < 0.5
        call = _Call(chance, {} if is_sound else denied_names(rules, groups, client))
        if not is_sound:
            chance.choice(NESTED_TRICKS if call.is_nested else TRICKS)(chance, call)
        headers, data = call.write(chance)
        if not is_sound and chance.random() < 0.3:
            data = chance.choice(ODDITIES)(chance, call.pairs())
        yield Attempt(
            rules=rules,
            groups=groups,
            client=client,
            headers=headers,
            data=data,
            is_sound=is_sound,
        )


def as_toml(rules: Sequence[RuleTable]) -> bytes:
    """Return the file of rules."""
    lines = []
    for rule in rules:
        lines += ["[[rule]]", *(f"{name} = {json.dumps(rule[name])}" for name in rule)]
    return "\n".join(lines).encode()


def some_rules(chance: random.Random) -> list[RuleTable]:
    """Return rules of any kind, or some that deny a part of all that is allowed."""
    count = chance.randrange(1, 6)
    if chance.random() < 0.5:
        return [_rule(chance, chance.choice(("allow", "allow", "deny"))) for _ in range(count)]
    rules: list[RuleTable] = [{"action": "allow"}, *(_rule(chance, "deny") for _ in range(count))]
    chance.shuffle(rules)
    return rules


def _rule(chance: random.Random, action: str) -> RuleTable:
    rule: dict[str, Any] = {"action": action}
    if chance.random() < 0.3:
        rule["groups"] = chance.sample(GROUPS, 1)
    if chance.random() < 0.2:
        rule["clients"] = chance.sample(CLIENTS, chance.randrange(1, 3))
    kinds = [kind for kind in PATTERNS if chance.random() < 0.35]
    for kind in kinds:
        rule[kind] = chance.sample(PATTERNS[kind], chance.randrange(1, 4))
    if chance.random() < (0.3 if kinds else 0.9):
        methods = chance.sample(METHOD_PATTERNS, chance.randrange(1, 5))
        # Methods that are about none of the names would be an error in the file.
        methods += [min(ABOUT[kind]) for kind in kinds]
        rule["methods"] = methods
    return rule


def denied_names(
    rules: Sequence[RuleTable], groups: Sequence[str], client: str | None
) -> dict[str, list[str]]:
    """Return methods and names that are denied to a caller: what somebody would try to call."""
    found: dict[str, list[str]] = {"methods": []}
    for rule in rules:
        if rule["action"] == "deny" and concerns(rule, groups, client):
            for kind in ("methods", *PATTERNS):
                names = [name for name in rule.get(kind, ()) if not name.endswith("*")]
                found.setdefault(kind, []).extend(names)
    found["methods"] += [method for method, (kind, _) in NAMING.items() if found.get(kind)]
    found["methods"] += [COMPLETE] if found.get("prompts") or found.get("resources") else []
    found["methods"] += [LISTEN] if found.get("resources") else []
    return found


class _Call:
    """A call whose parts may be changed before it is written; perhaps of what is wanted."""

    def __init__(self, chance: random.Random, wanted: dict[str, list[str]]) -> None:
        self.wanted = wanted if chance.random() < 0.7 else {}
        self.method = chance.choice(self.wanted.get("methods") or METHODS)
        self.params: Pairs = []
        self.meta: Pairs = []
        self.others: Pairs = []  # of the envelope
        self.extra_headers: list[tuple[str, str]] = []
        self.replaced_headers: dict[str, str | None] = {}
        self.named: str | None = None  # what Mcp-Name repeats
        kind, member = NAMING.get(self.method, (None, ""))
        if kind:
            self.name_it(member, self.any_of(chance, kind))
        elif self.method == COMPLETE:
            self.params.append(("ref", self.reference(chance)))
        elif self.method == LISTEN and chance.random() < 0.9:
            self.params.append(("notifications", self.notifications(chance)))
        elif self.method in TASKS and chance.random() < 0.9:
            self.params.append(("taskId", chance.choice(["1", "delete_all"])))
        self.is_nested = self.method in {COMPLETE, LISTEN}
        self._add_rest(chance)
        self.version = chance.choice((None, *OLD, *NEW, *NEW, *NEW, *NEW))
        self.is_new = self.version in NEW
        self.has_id = not self.method.startswith("notifications/")
        if self.is_new or (self.version and chance.random() < 0.3):
            self.meta.append((VERSION, self.version))

    def any_of(self, chance: random.Random, kind: str) -> str:
        wanted = self.wanted.get(kind) if chance.random() < 0.7 else None
        return chance.choice(wanted or NAMES[kind])

    def reference(self, chance: random.Random) -> Pairs:
        if chance.random() < 0.5:
            return [("type", "ref/prompt"), ("name", self.any_of(chance, "prompts"))]
        return [("type", "ref/resource"), ("uri", self.any_of(chance, "resources"))]

    def notifications(self, chance: random.Random) -> Pairs:
        uris = [Item(self.any_of(chance, "resources")) for _ in range(chance.randrange(4))]
        return [("toolsListChanged", Raw("true")), ("resourceSubscriptions", uris or Raw("[]"))]

    def name_it(self, member: str, name: str) -> None:
        self.named = name
        self.params.append((member, name))

    def name_others(self, chance: random.Random) -> None:
        """Name something that nobody wants in particular, so that it may be allowed."""
        wanted, self.wanted = self.wanted, {}
        for at, (member, _) in enumerate(self.params):
            if member == "ref":
                self.params[at] = member, self.reference(chance)
            elif member == "notifications":
                self.params[at] = member, self.notifications(chance)
            elif member in {"name", "uri"}:
                self.named = self.any_of(chance, NAMING[self.method][0])
                self.params[at] = member, self.named
        self.wanted = wanted

    def _add_rest(self, chance: random.Random) -> None:
        for member in ("arguments", "other"):
            if chance.random() < 0.4:
                self.params.append((member, any_value(chance, 2)))
        if chance.random() < 0.2:
            self.params.append(("inputResponses", [("delete_all", any_value(chance, 1))]))
            self.params.append(("requestState", "s"))
        if chance.random() < 0.2:
            self.params.append(("task", [("ttl", Raw("60000"))]))
        if chance.random() < 0.3:
            self.meta.append(("progressToken", 7))

    def pairs(self) -> Pairs:
        params = [*self.params, *([("_meta", self.meta)] if self.meta else [])]
        pairs: Pairs = [("jsonrpc", "2.0"), ("method", self.method), ("params", params)]
        if self.has_id:
            pairs.append(("id", 7))
        return [*pairs, *self.others]

    def write(self, chance: random.Random) -> tuple[Headers, bytes]:
        """Return headers and body. What is added to an object comes before or after the rest."""
        for level in (self.params, self.meta, self.others):
            chance.shuffle(level)
        pairs = self.pairs()
        chance.shuffle(pairs)
        return self._headers(chance), write_object(chance, pairs).encode()

    def _headers(self, chance: random.Random) -> Headers:
        repeated: dict[str, str | None] = {VERSION: self.version, "method": self.method}
        is_named = NAMING.get(self.method) and self.method.split("/")[1] in {"call", "get", "read"}
        repeated["name"] = self.named if is_named else None
        found = []
        for what, value in (repeated | self.replaced_headers).items():
            is_wanted = self.is_new or what in self.replaced_headers or chance.random() < 0.4
            if value is not None and is_wanted:
                text = _header_value(chance, value) if what == "name" else value
                found.append((HEADER_NAMES[what], text))
        found += self.extra_headers
        chance.shuffle(found)
        return [
            (b"content-type", b"application/json"),
            *((name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
              for name, value in found),
        ]  # fmt: skip


def _header_value(chance: random.Random, value: str) -> str:
    if value.isascii() and chance.random() < 0.8:
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


# Tricks. Each changes a call so that somebody may find another one in it.


def _twin(chance: random.Random, call: _Call) -> None:
    """Add a member that decides once more, also in a spelling that only looks like it."""
    call.name_others(chance)

    def name() -> str:
        return call.any_of(chance, NAMING.get(call.method, ("prompts", ""))[0])

    def uri() -> str:
        return call.any_of(chance, "resources")

    members: dict[str, Callable[[], Any]] = {
        "method": lambda: chance.choice(METHODS),
        "params": lambda: [("name", name()), ("uri", uri())],
        "name": name,
        "uri": uri,
        "ref": lambda: call.reference(chance),
        "notifications": lambda: call.notifications(chance),
        "type": lambda: chance.choice(("ref/prompt", "ref/resource")),
        "resourceSubscriptions": lambda: [Item(uri())],
    }
    inner = next((v for n, v in call.params if n in {"ref", "notifications"}), None)
    levels: list[tuple[Pairs, Sequence[str]]] = [
        (call.others, ("method", "params")),
        *[(call.params, ("ref", "notifications") if call.is_nested else ("name", "uri"))] * 2,
    ]
    if isinstance(inner, list):
        levels += [(inner, ("type", "name", "uri", "resourceSubscriptions"))] * 3
    level, names = chance.choice(levels)
    present = [each for each in names if any(each == found for found, _ in level)]
    member = chance.choice(present or names)
    spelled = member if chance.random() < 0.3 else disguise(chance, member)
    level.insert(chance.randrange(len(level) + 1), (spelled, members[member]()))


def _odd_name(chance: random.Random, call: _Call) -> None:
    """Name something that some server takes for another name, in the headers as well."""
    if call.named is None:
        _odd_method(chance, call)
        return
    make = odd_address if ":" in call.named else odd_word
    name = make(chance, call.named)
    call.params[:] = [(n, name if v is call.named else v) for n, v in call.params]
    call.named = name


def _odd_nested(chance: random.Random, call: _Call) -> None:
    """Do the same to the addresses and names within objects."""
    for value in [value for name, value in call.params if name in {"ref", "notifications"}]:
        for at, (name, inner) in enumerate(value):
            if name in {"uri", "name"}:
                make = odd_address if name == "uri" else odd_word
                value[at] = (name, make(chance, inner))
            elif name == "resourceSubscriptions" and isinstance(inner, list):
                inner[:] = [Item(odd_address(chance, each.value)) for each in inner]


def odd_word(chance: random.Random, word: str) -> str:
    at = chance.randrange(len(word) + 1)
    ways = (
        *(word.upper(), word.capitalize(), f" {word}", f"{word} ", f"{word}\x00", f"{word}\n"),
        *(word[:at] + chance.choice(UNSEEN) + word[at:], f"{word}\x00x", f"\ufeff{word}", "", "ﬁ"),
        *(
            "".join(chr(ord(each) + 0xFEE0) for each in word),
            f"{word}/",
            f"../{word}",
            "é",
            "x" * 129,
        ),
    )
    return chance.choice(ways)


def odd_address(chance: random.Random, uri: str) -> str:
    """Return an address that some server may take for another one, sometimes for this one."""
    scheme, _, rest = uri.partition(":")
    at = chance.randrange(len(uri))
    inner = chance.randrange(len(scheme) + 1, len(uri) + 1)
    letter = f"%{ord(uri[at]):02X}"
    slashes = len(rest) - len(rest.lstrip("/"))
    ways = (
        uri[:at] + letter + uri[at + 1 :],
        uri[:at] + letter.lower() + uri[at + 1 :],
        uri[:at] + letter.replace("%", "%25") + uri[at + 1 :],
        uri.replace("/open/", "/open/../secret/"),
        uri.replace("/open/", "/open/%2e%2E/secret/"),
        uri.replace("/open/", "/open/..;/secret/"),
        uri.replace("/secret/", "/./secret/"),
        uri.replace("/secret/", "//secret/"),
        uri.replace("/secret/", "\\secret\\"),
        uri.replace("/secret/", "/x/%2e./secret/"),
        uri.replace("secret", "open/../secret"),
        uri.replace("///", "//localhost/"),
        uri.replace("///", "/"),
        uri.replace("x.example", "x.example:443"),
        uri.replace("x.example", "x.example."),
        uri.replace("x.example", "u@x.example"),
        uri.replace("x.example", "X.example"),
        uri.replace(
            "127.0.0.1", chance.choice(("127.1", "0x7f.0.0.1", "2130706433", "127.0.0.01"))
        ),
        uri.replace("https:", "https:/"),
        uri.replace("https:", "HTTPS:"),
        scheme.upper() + uri[len(scheme) :],
        f"{scheme}:" + rest[slashes:],
        f"{scheme}:/" + rest[slashes:],
        f"{scheme}:///" + rest[slashes:],
        uri
        + chance.choice(("#x", "?", "?x=y", "/", "/.", "/..", "#", ";x", " ", "%20", "%00", ".")),
        uri[:inner] + chance.choice(("\t", "\n", "\r", " ", "%09", "%0A", *UNSEEN)) + uri[inner:],
        " " + uri,
        uri.rstrip("/"),
        chance.choice(("", scheme, f"{scheme}:", "https://x.example", "https://x.example?a")),
    )
    return chance.choice(ways)


def _odd_method(chance: random.Random, call: _Call) -> None:
    """Use another spelling of the method, in the headers as well."""
    method = call.method
    ways = (
        *(method.upper(), method.title(), method + "/", "/" + method, method + " ", method + "."),
        *(method.replace("/", "//"), method + chance.choice(UNSEEN), method.replace("/", "/./")),
        *(method.replace("s", "ſ"), method.replace("/", "\\/"), method.replace("/", "%2F"), ""),
    )
    call.method = chance.choice(ways)


def _other_header(chance: random.Random, call: _Call) -> None:
    """Have the headers say something else than the body, or twice, or in another spelling."""
    what = chance.choice((VERSION, "method", "name", "name"))
    values = {VERSION: (*OLD, *NEW, "2026-7-28"), "method": METHODS, "name": (*TOOLS, *RESOURCES)}
    value = chance.choice(values[what])
    header = HEADER_NAMES[what]
    way = chance.randrange(6)
    if way == 0:
        call.replaced_headers[what] = value
    elif way == 1:
        call.replaced_headers[what] = None
    elif way == 2:
        call.extra_headers.append((header, value))
    elif way == 3:
        call.extra_headers.append((header.replace("-", chance.choice("_."), 1), value))
    elif way == 4:
        encoded = base64.b64encode(value.encode()).decode()
        forms = (f"=?BASE64?{encoded}?=", f"=?base64?{encoded}=?=", f"=?base64?{encoded}?= ")
        call.extra_headers.append((header, chance.choice(forms)))
    else:
        call.meta[:] = [(n, chance.choice(OLD) if n == VERSION else v) for n, v in call.meta]


TRICKS: tuple[Callable[[random.Random, _Call], None], ...] = (
    *(_twin, _twin, _twin, _odd_name, _odd_name, _odd_nested, _odd_method),
    *(_other_header, _other_header, lambda _chance, _call: None),
)
# Of what is named in an object: there is nothing else to say twice.
NESTED_TRICKS = (_twin, _twin, _odd_nested, _odd_method, _other_header)
