"""OpenAI's Python SDK, unmodified: only its base URL and key are Farebox's."""

import ssl

import httpx
import openai
import pytest

MODEL = "gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Say a few words."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    },
}


def client(way, key, **options):
    url, verify = way
    if verify is not True:
        # An address of this machine, so the proxies of the environment are not for it.
        context = ssl.create_default_context(cafile=verify)
        options["http_client"] = openai.DefaultHttpxClient(verify=context, trust_env=False)
    return openai.OpenAI(base_url=f"{url}/openai/v1", api_key=key, **options)


def test_chat(farebox, way, tenant):
    answer = client(way, farebox.issue("--tenant", tenant)).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content
    (row,) = farebox.rows(tenant, 1)
    assert row["usage_source"] == "reported"
    assert int(row["usage"]["output_tokens"]) == answer.usage.completion_tokens
    assert row["environment"] == "test"


def test_stream_without_usage_is_metered_and_unchanged(farebox, way, tenant):
    stream = client(way, farebox.issue("--tenant", tenant)).chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert all(chunk.usage is None for chunk in chunks), "the caller did not ask for usage"
    (row,) = farebox.rows(tenant, 1)
    assert (row["usage_source"], row["request_amended"]) == ("reported", True)


def test_stream_with_usage(farebox, way, tenant):
    stream = client(way, farebox.issue("--tenant", tenant)).chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    usage = [chunk.usage for chunk in stream if chunk.usage]
    assert len(usage) == 1
    (row,) = farebox.rows(tenant, 1)
    assert int(row["usage"]["output_tokens"]) == usage[0].completion_tokens


@pytest.mark.parametrize("is_stream", [False, True])
def test_tools(farebox, way, tenant, is_stream):
    answer = client(way, farebox.issue("--tenant", tenant)).chat.completions.create(
        model=MODEL, messages=MESSAGES, tools=[TOOL], tool_choice="required", stream=is_stream
    )
    if is_stream:
        names = [
            call.function.name
            for chunk in answer
            for choice in chunk.choices
            for call in choice.delta.tool_calls or []
            if call.function and call.function.name
        ]
    else:
        names = [call.function.name for call in answer.choices[0].message.tool_calls]
    assert names == ["weather"]
    (row,) = farebox.rows(tenant, 1)
    assert row["usage_source"] == "reported"


def test_a_tenant_may_be_named_by_header(farebox, way, tenant):
    key = farebox.issue("--may-attribute", "any")
    headers = {"x-farebox-tenant": tenant, "x-farebox-customer": "end-1"}
    client(way, key, default_headers=headers).chat.completions.create(model=MODEL, messages=MESSAGES)
    (row,) = farebox.rows(tenant, 1)
    assert (row["attribution"], row["customer_id"]) == ("header", "end-1")


def test_a_wrong_key_raises_authentication_error(farebox, way):
    key = farebox.issue("--may-attribute", "any")
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    with pytest.raises(openai.AuthenticationError) as raised:
        client(way, wrong, max_retries=0).chat.completions.create(model=MODEL, messages=MESSAGES)
    assert raised.value.code == "invalid_key"


def test_a_rate_limit_raises_rate_limit_error(farebox, way, tenant):
    farebox.tenant(tenant)
    farebox.verb("limit", "set", "--tenant", tenant, "--amount", "1", "--window", "hour")
    limited = client(way, farebox.issue("--tenant", tenant), max_retries=0)
    limited.chat.completions.create(model=MODEL, messages=MESSAGES)
    with pytest.raises(openai.RateLimitError) as raised:
        limited.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert raised.value.code == "rate_limited"
    assert int(raised.value.response.headers["retry-after"]) >= 1


def test_a_conflicting_tenant_raises_permission_denied(farebox, way, tenant):
    headers = {"x-farebox-tenant": "another"}
    scoped = client(way, farebox.issue("--tenant", tenant), max_retries=0, default_headers=headers)
    with pytest.raises(openai.PermissionDeniedError) as raised:
        scoped.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert raised.value.code == "tenant_conflict"


def test_the_event_id_is_on_the_answer(farebox, way, tenant):
    raw = client(way, farebox.issue("--tenant", tenant)).chat.completions.with_raw_response.create(
        model=MODEL, messages=MESSAGES
    )
    (row,) = farebox.rows(tenant, 1)
    assert raw.headers["x-farebox-event"] == row["event_id"]


def test_plain_httpx_needs_nothing_of_ours(farebox, way, tenant):
    url, verify = way
    key = farebox.issue("--tenant", tenant)
    context = True if verify is True else ssl.create_default_context(cafile=verify)
    answer = httpx.post(
        f"{url}/openai/v1/chat/completions",
        headers={"authorization": f"Bearer {key}"},
        json={"model": MODEL, "messages": MESSAGES},
        verify=context,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
