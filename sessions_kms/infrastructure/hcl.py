"""HCL, the language of Terraform, as far as the templates need it.

https://developer.hashicorp.com/terraform/language/syntax/configuration
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

WIDTH = 100


class Expression(str):
    """A reference or a call, written as it is."""

    __slots__ = ()


@dataclass(frozen=True)
class Block:
    """One block: its type and labels, its arguments, and the blocks in it."""

    head: str
    labels: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple["Block", ...] = ()


def written(blocks: list[Block]) -> str:
    """Return the text of a configuration, as `terraform fmt` would leave it."""
    return "\n\n".join("\n".join(_block(block)) for block in blocks) + "\n"


def _block(block: Block) -> Iterator[str]:
    head = " ".join([block.head, *(json.dumps(label) for label in block.labels)])
    if not block.arguments and not block.blocks:
        yield f"{head} {{}}"
        return
    yield f"{head} {{"
    parts = [list(_arguments(block.arguments))] if block.arguments else []
    parts += [list(_block(each)) for each in block.blocks]
    for number, part in enumerate(parts):
        if number:
            yield ""
        yield from (f"  {line}" if line else "" for line in part)
    yield "}"


def _arguments(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield the arguments, their equals signs below each other where they stand on one line."""
    lines = {name: list(_value(value, len(name))) for name, value in arguments.items()}
    run: list[str] = []
    for name, value in lines.items():
        if len(value) == 1:
            run.append(name)
            continue
        yield from _aligned(run, lines)
        run = []
        yield f"{name} = {value[0]}"
        yield from value[1:]
    yield from _aligned(run, lines)


def _aligned(names: list[str], lines: Mapping[str, list[str]]) -> Iterator[str]:
    width = max(map(len, names), default=0)
    for name in names:
        yield f"{name:<{width}} = {lines[name][0]}"


def _value(value: Any, indent: int) -> Iterator[str]:
    one_line = _inline(value)
    if indent + len(one_line) <= WIDTH or not isinstance(value, list):
        yield one_line
        return
    yield "["
    yield from (f"  {_inline(each)}," for each in value)
    yield "]"


def _inline(value: Any) -> str:
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(_inline(each) for each in value)}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_inline(each)}" for name, each in value.items()) + " }"
    return json.dumps(value)


def _text(value: str) -> str:
    """Quote a text, and keep Terraform from reading a template into it."""
    return json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
