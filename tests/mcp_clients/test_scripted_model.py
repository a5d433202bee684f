"""The scripted model requests one call and repeats its result, so that reports are reliable."""

import json
from typing import Any

import requests

from tests.mcp_clients.scripted_model import ToolCall, serving

CALL = ToolCall("whoami", {"to": 3}, "mcp__demo")
ASKED = {"role": "user", "content": CALL.prompt}
RESULT = {"type": "tool_result", "tool_use_id": "call-1", "content": "Ada Lovelace"}
OUTPUT = {"type": "function_call_output", "call_id": "call-1", "output": "Ada Lovelace"}


def events(address: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    response = requests.post(address, json=asked, timeout=20)
    assert response.headers["Content-Type"] == "text/event-stream"
    return [
        json.loads(line.removeprefix("data: "))
        for line in response.text.splitlines()
        if line.startswith("data: ")
    ]


def of_anthropic(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    with serving() as url:
        asked = {"model": "any", "messages": [ASKED, *messages]}
        return events(f"{url}/v1/messages?beta=true", asked)


def of_openai(*items: dict[str, Any]) -> dict[str, Any]:
    with serving() as url:
        asked = {"input": [{"type": "message", **ASKED}, *items]}
        (item,) = (
            event["item"] for event in events(f"{url}/v1/responses", asked) if "item" in event
        )
    found: dict[str, Any] = item
    return found


def test_claude_code_is_told_to_call_the_tool() -> None:
    told = of_anthropic()
    assert told[1]["content_block"]["name"] == "whoami"
    assert json.loads(told[2]["delta"]["partial_json"]) == {"to": 3}
    assert told[4]["delta"]["stop_reason"] == "tool_use"


def test_claude_code_gets_the_response_of_the_tool_whatever_it_adds_itself() -> None:
    reminder = {"role": "user", "content": [{"type": "text", "text": "A server is there again."}]}
    told = of_anthropic({"role": "user", "content": [RESULT]}, reminder)
    assert told[2]["delta"] == {"type": "text_delta", "text": "Ada Lovelace"}
    assert told[4]["delta"]["stop_reason"] == "end_turn"


def test_codex_is_told_to_call_the_tool_and_gets_its_response() -> None:
    told = of_openai()
    assert (told["namespace"], told["name"]) == ("mcp__demo", "whoami")
    assert json.loads(told["arguments"]) == {"to": 3}
    said = of_openai(OUTPUT, {"type": "message", "role": "user", "content": "Anything else"})
    assert said["content"] == [{"type": "output_text", "text": "Ada Lovelace"}]


def test_each_prompt_of_a_session_has_a_call_of_its_own() -> None:
    told = of_anthropic({"role": "user", "content": [RESULT]}, ASKED)
    assert told[1]["content_block"]["id"] == "call-2"
