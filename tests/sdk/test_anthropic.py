"""Anthropic's Python SDK, unmodified."""

import ssl

import anthropic
import pytest

MODEL = "claude-sonnet-4-6"
MESSAGES = [{"role": "user", "content": "Say a few words."}]
TOOL = {
    "name": "weather",
    "description": "The weather of a town.",
    "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
}


def client(way, key, **options):
    url, verify = way
    if verify is not True:
        context = ssl.create_default_context(cafile=verify)
        options["http_client"] = anthropic.DefaultHttpxClient(verify=context, trust_env=False)
    return anthropic.Anthropic(base_url=f"{url}/anthropic", api_key=key, **options)


def test_message(farebox, way, tenant):
    answer = client(way, farebox.issue("--tenant", tenant)).messages.create(
        model=MODEL, max_tokens=128, messages=MESSAGES
    )
    assert answer.content[0].text
    (row,) = farebox.rows(tenant, 1)
    assert int(row["usage"]["input_tokens"]) == answer.usage.input_tokens
    assert row["usage_source"] == "reported"


def test_stream(farebox, way, tenant):
    with client(way, farebox.issue("--tenant", tenant)).messages.stream(
        model=MODEL, max_tokens=128, messages=MESSAGES
    ) as stream:
        assert "".join(stream.text_stream)
        usage = stream.get_final_message().usage
    (row,) = farebox.rows(tenant, 1)
    total = sum(int(row["usage"].get(meter, "0")) for meter in ("output_tokens", "reasoning_tokens"))
    assert total == usage.output_tokens
    assert row["usage_source"] == "reported"


def test_tools(farebox, way, tenant):
    answer = client(way, farebox.issue("--tenant", tenant)).messages.create(
        model=MODEL, max_tokens=128, messages=MESSAGES, tools=[TOOL], tool_choice={"type": "any"}
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["weather"]
    (row,) = farebox.rows(tenant, 1)
    assert row["usage_source"] == "reported"


def test_a_wrong_key_raises_authentication_error(farebox, way):
    key = farebox.issue("--may-attribute", "any")
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    with pytest.raises(anthropic.AuthenticationError):
        client(way, wrong, max_retries=0).messages.create(model=MODEL, max_tokens=16, messages=MESSAGES)


def test_a_rate_limit_raises_rate_limit_error(farebox, way, tenant):
    farebox.tenant(tenant)
    farebox.verb("limit", "set", "--tenant", tenant, "--amount", "1", "--window", "hour")
    limited = client(way, farebox.issue("--tenant", tenant), max_retries=0)
    limited.messages.create(model=MODEL, max_tokens=16, messages=MESSAGES)
    with pytest.raises(anthropic.RateLimitError):
        limited.messages.create(model=MODEL, max_tokens=16, messages=MESSAGES)
