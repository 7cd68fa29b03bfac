"""Anthropic's Python SDK, unmodified."""

import anthropic
import pytest
from stand import FIXTURES
from upstream import Case

REQUEST = Case(FIXTURES / "anthropic/plain").request
TOOL = {
    "name": "weather",
    "description": "The weather of a town.",
    "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
}


def client(caller, scheme="http", **options):
    return anthropic.Anthropic(base_url=caller.url("anthropic", scheme=scheme), api_key=caller.key, **options)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_message(caller, scheme):
    answer = client(caller, scheme).messages.create(**REQUEST)
    assert answer.content[0].text == "Hello."
    row = caller.expect("anthropic/plain")
    assert (row["endpoint"], row["provider"], row["response_id"]) == ("messages", "anthropic", answer.id)


def test_stream(caller):
    with client(caller).messages.stream(**REQUEST) as stream:
        assert "".join(stream.text_stream)
        assert stream.get_final_message().usage.output_tokens
    caller.expect("anthropic/stream")


@pytest.mark.parametrize("is_stream", [False, True])
def test_tools(caller, is_stream):
    request = REQUEST | {"tools": [TOOL]}
    if is_stream:
        with client(caller).messages.stream(**request) as stream:
            answer = stream.get_final_message()
    else:
        answer = client(caller).messages.create(**request)
    assert [(block.name, block.input) for block in answer.content] == [("weather", {"town": "Graz"})]
    caller.expect("anthropic/tools_stream" if is_stream else "anthropic/tools")


def test_a_wrong_key_raises_authentication_error(wrong):
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client(wrong).messages.create(**REQUEST)
    assert raised.value.body["error"]["type"] == "authentication_error"


def test_a_rate_limit_raises_rate_limit_error(limited):
    client(limited).messages.create(**REQUEST)
    with pytest.raises(anthropic.RateLimitError):
        client(limited, max_retries=0).messages.create(**REQUEST)
    limited.expect("anthropic/plain")
