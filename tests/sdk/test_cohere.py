"""Cohere's Python SDK, unmodified."""

import cohere
import pytest
from stand import FIXTURES
from upstream import Case

CHAT = Case(FIXTURES / "cohere/plain").request
ONCE = {"max_retries": 0}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"town": {"type": "string"}}}},
}


def client(caller, scheme="http"):
    return cohere.ClientV2(base_url=caller.url("cohere", scheme=scheme), api_key=caller.key)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_chat(caller, scheme):
    assert client(caller, scheme).chat(**CHAT).message.content[0].text == "Hello."
    assert caller.expect("cohere/plain")["provider"] == "cohere"


def test_stream(caller):
    kinds = [event.type for event in client(caller).chat_stream(**CHAT)]
    assert kinds[-1] == "message-end"
    caller.expect("cohere/stream")


def test_tools(caller):
    answer = client(caller).chat(**CHAT, tools=[TOOL])
    assert answer.message.tool_calls[0].function.name == "weather"
    caller.expect("cohere/tools")


def test_embeddings(caller):
    answer = client(caller).embed(
        model="embed-v4.0", texts=["a"], input_type="search_document", embedding_types=["float"]
    )
    assert answer.embeddings.float_
    caller.expect("cohere/embeddings_plain")


def test_rerank(caller):
    answer = client(caller).rerank(**Case(FIXTURES / "cohere/rerank_plain").request)
    assert answer.meta.billed_units.search_units == 2
    caller.expect("cohere/rerank_plain")


def test_a_wrong_key_raises_unauthorized_error(wrong):
    with pytest.raises(cohere.UnauthorizedError):
        client(wrong).chat(**CHAT)


def test_a_rate_limit_raises_too_many_requests_error(limited):
    client(limited).chat(**CHAT)
    with pytest.raises(cohere.TooManyRequestsError):
        client(limited).chat(**CHAT, request_options=ONCE)
    limited.expect("cohere/plain")
