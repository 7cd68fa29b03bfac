"""OpenAI's Python SDK, unmodified: only its base URL and key are Farebox's."""

import openai
import pytest
from stand import FIXTURES
from upstream import Case

CHAT = Case(FIXTURES / "openai/plain").request
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}
SOUND = ("a.wav", b"RIFF\x24\x00\x00\x00WAVE")


def client(caller, scheme="http", **options):
    return openai.OpenAI(base_url=caller.url("openai", "/v1", scheme), api_key=caller.key, **options)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_chat(caller, scheme):
    answer = client(caller, scheme).chat.completions.create(**CHAT)
    assert answer.choices[0].message.content == "Hello."
    row = caller.expect("openai/plain")
    assert (row["endpoint"], row["provider"], row["attribution"]) == ("chat", "openai", "key")


def test_a_stream_without_usage_is_metered_and_unchanged(caller):
    request = CHAT | {"stream": True}
    chunks = list(client(caller).chat.completions.create(**request))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert all(chunk.usage is None for chunk in chunks), "the caller did not ask for usage"
    assert caller.expect("openai/stream")["request_amended"] is True


def test_a_stream_with_usage_has_it(caller):
    request = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
    usage = [chunk.usage for chunk in client(caller).chat.completions.create(**request) if chunk.usage]
    assert len(usage) == 1
    assert caller.expect("openai/stream")["request_amended"] is False


@pytest.mark.parametrize("is_stream", [False, True])
def test_tools(caller, is_stream):
    answer = client(caller).chat.completions.create(**CHAT, tools=[TOOL], stream=is_stream)
    if is_stream:
        calls = [call for chunk in answer for choice in chunk.choices for call in choice.delta.tool_calls or []]
    else:
        calls = answer.choices[0].message.tool_calls
    assert [call.function.name for call in calls if call.function.name] == ["weather"]
    caller.expect("openai/tools_stream" if is_stream else "openai/tools")


def test_responses(caller):
    answer = client(caller).responses.create(**Case(FIXTURES / "openai/responses_plain").request)
    assert answer.usage.total_tokens
    assert caller.expect("openai/responses_plain")["response_id"] == answer.id


def test_responses_stream(caller):
    request = Case(FIXTURES / "openai/responses_stream").request
    kinds = [event.type for event in client(caller).responses.create(**request)]
    assert kinds[-1] == "response.completed"
    caller.expect("openai/responses_stream")


def test_embeddings(caller):
    request = Case(FIXTURES / "openai/embeddings_plain").request
    answer = client(caller).embeddings.create(**request, encoding_format="float")
    assert len(answer.data) == 2
    caller.expect("openai/embeddings_plain")


def test_speech(caller):
    answer = client(caller).audio.speech.create(**Case(FIXTURES / "openai/speech_plain").request)
    assert answer.content
    caller.expect("openai/speech_plain")


def test_transcription(caller):
    answer = client(caller).audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND)
    assert answer.text == "hi"
    caller.expect("openai/transcription_plain")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_realtime(caller, scheme):
    with client(caller, scheme).realtime.connect(model="gpt-realtime") as connection:
        for _ in range(2):
            connection.response.create()
            for event in connection:
                if event.type == "response.done":
                    assert event.response.usage.total_tokens == 30
                    break
    turns = [row for row in caller.session() if row["usage"].get("output_tokens")]
    assert [(row["response_id"], row["usage"]["output_tokens"]) for row in turns] == [("resp_1", "10"), ("resp_2", "10")]
    assert {row["model"] for row in turns} == {"gpt-realtime"}


@pytest.mark.parametrize("is_stream", [False, True])
def test_azure(caller, is_stream):
    azure = openai.AzureOpenAI(
        azure_endpoint=caller.url("azure", scheme="http"), api_key=caller.key, api_version="2025-04-01-preview"
    )
    request = {"model": "my-sol", "messages": [{"role": "user", "content": "Say hello."}], "stream": is_stream}
    answer = azure.chat.completions.create(**request)
    if is_stream:
        assert list(answer)
    else:
        assert answer.choices[0].message.content
    row = caller.expect("azure/stream" if is_stream else "azure/plain")
    assert (row["provider"], row["model_requested"]) == ("azure", "my-sol")


def test_a_tenant_may_be_named_by_header(farebox):
    caller = farebox.caller()
    caller.key = farebox.issue("--may-attribute", "any")
    headers = {"x-farebox-tenant": caller.tenant, "x-farebox-customer": "end-1"}
    client(caller, default_headers=headers).chat.completions.create(**CHAT)
    row = caller.expect("openai/plain")
    assert (row["attribution"], row["customer_id"]) == ("header", "end-1")


def test_a_wrong_key_raises_authentication_error(wrong):
    with pytest.raises(openai.AuthenticationError) as raised:
        client(wrong).chat.completions.create(**CHAT)
    assert raised.value.code == "invalid_key"


def test_a_rate_limit_raises_rate_limit_error(limited):
    client(limited).chat.completions.create(**CHAT)
    with pytest.raises(openai.RateLimitError) as raised:
        client(limited, max_retries=0).chat.completions.create(**CHAT)
    assert raised.value.code == "rate_limited"
    assert int(raised.value.response.headers["retry-after"]) >= 1
    limited.expect("openai/plain")


def test_a_conflicting_tenant_raises_permission_denied(caller):
    headers = {"x-farebox-tenant": "another"}
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client(caller, default_headers=headers).chat.completions.create(**CHAT)
    assert raised.value.code == "tenant_conflict"


def test_the_event_id_is_on_the_answer(caller):
    raw = client(caller).chat.completions.with_raw_response.create(**CHAT)
    assert raw.headers["x-farebox-event"] == caller.expect("openai/plain")["event_id"]


def test_a_test_key_goes_to_the_simulated_upstream(farebox):
    caller = farebox.caller("--environment", "test")
    answer = client(caller).chat.completions.create(**CHAT | {"model": "gpt-4o-mini"})
    (row,) = caller.rows(1)
    assert (row["environment"], row["usage_source"]) == ("test", "reported")
    assert int(row["usage"]["output_tokens"]) == answer.usage.completion_tokens
