"""A scripted model, which replaces the real one of a command line client.

A prompt that names a tool's call enters; what leaves is the wish for this call, and then what the
tool answered, word for word; for a call without a name, the tools that the command line offers.
Speaks as much of OpenAI's Responses API and of Anthropic's Messages API as Codex and Claude Code
read. Knows no gateway: the tool is called by the command line, with the token that it keeps.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from tests.support.http_server import QuietHandler, serve_handler

Event = dict[str, Any]
TIMEOUT = 20  # seconds for a request's next bytes
PREFIX_END = "__"  # of what command lines put before the names of a server's tools
BEGINNING = "Please call: "  # of a prompt, to which a command line adds much text


@dataclass(frozen=True)
class ToolCall:
    """What the model is to want, by the names under which the command line offers the tool."""

    name: str
    arguments: Mapping[str, Any]
    namespace: str = ""  # Codex has one for each server

    @property
    def is_named(self) -> bool:
        """Whether there is a tool to call; a prefix is no name."""
        return bool(self.name) and not self.name.endswith(PREFIX_END)

    @property
    def prompt(self) -> str:
        """What a person types, so that it is wanted."""
        return BEGINNING + json.dumps(asdict(self))


@contextmanager
def serving() -> Iterator[str]:
    """Serve on 127.0.0.1 until the block ends; give the address."""

    class Model(QuietHandler):
        timeout = TIMEOUT

        def do_HEAD(self) -> None:
            """Claude Code looks first whether somebody is there."""
            self.respond(200)

        def do_POST(self) -> None:
            asked = json.loads(self.read_body())
            response = {"/v1/responses": of_openai, "/v1/messages": of_anthropic}
            events = response[self.path.partition("?")[0]](asked)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in events:
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())

    with serve_handler(Model) as address:
        yield address


def of_openai(asked: Event) -> list[Event]:
    """Return a streamed response of the Responses API."""
    items = asked["input"]
    call, identifier = wanted_call(block for item in items for block in blocks(item))
    responses = [
        item["output"]
        for item in items
        if item["type"] == "function_call_output" and item["call_id"] == identifier
    ]
    item: Event = {
        "type": "function_call",
        "call_id": identifier,
        "namespace": call.namespace,
        "name": call.name,
        "arguments": json.dumps(call.arguments),
    }
    if not call.is_named:
        responses = [json.dumps(asked.get("tools"))]
    if responses:
        said = {"type": "output_text", "text": as_text(responses[-1])}
        item = {"type": "message", "role": "assistant", "content": [said]}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    return [
        {"type": "response.created", "response": {"id": "response-1"}},
        {"type": "response.output_item.done", "item": item},
        {"type": "response.completed", "response": {"id": "response-1", "usage": usage}},
    ]


def of_anthropic(asked: Event) -> list[Event]:
    """Return a streamed response of the Messages API."""
    said = [block for message in asked["messages"] for block in blocks(message)]
    call, identifier = wanted_call(said)
    responses = [
        block["content"]
        for block in said
        if block["type"] == "tool_result" and block["tool_use_id"] == identifier
    ]
    if not call.is_named:
        responses = [" ".join(re.findall(re.escape(call.name) + "[a-z]\\w*", json.dumps(asked)))]
    if responses:
        block: Event = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": as_text(responses[-1])}
    else:
        block = {"type": "tool_use", "id": identifier, "name": call.name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call.arguments)}
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "message-1", "type": "message", "role": "assistant", "content": []}
    ended = {"stop_reason": "end_turn" if responses else "tool_use"}
    return [
        {"type": "message_start", "message": message | {"model": asked["model"], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": usage},
        {"type": "message_stop"},
    ]


def blocks(message: Event) -> list[Event]:
    """Return what a message consists of; a text alone is one block."""
    content = message.get("content", [])
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def wanted_call(said: Iterable[Event]) -> tuple[ToolCall, str]:
    """Return the call of the last prompt, and an id that no earlier one has."""
    texts = [block["text"] for block in said if "text" in block]
    prompts = [text for text in texts if text.startswith(BEGINNING)]
    call = ToolCall(**json.loads(prompts[-1].removeprefix(BEGINNING)))
    return call, f"call-{len(prompts)}"


def as_text(response: Any) -> str:
    """Return a tool's response as the command line passes it on: a text, or a list of blocks."""
    return response if isinstance(response, str) else json.dumps(response)
