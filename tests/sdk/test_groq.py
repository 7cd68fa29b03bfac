"""Groq's Python SDK, unmodified."""

import groq
import pytest
from stand import FIXTURES
from upstream import Case

CHAT = Case(FIXTURES / "groq/plain").request
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"town": {"type": "string"}}}},
}


def client(caller, scheme="http", **options):
    return groq.Groq(base_url=caller.url("groq", scheme=scheme), api_key=caller.key, **options)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_chat(caller, scheme):
    assert client(caller, scheme).chat.completions.create(**CHAT).choices[0].message.content == "Hello."
    assert caller.expect("groq/plain")["provider"] == "groq"


def test_stream(caller):
    chunks = list(client(caller).chat.completions.create(**CHAT | {"stream": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    caller.expect("groq/stream")


def test_tools(caller):
    answer = client(caller).chat.completions.create(**CHAT, tools=[TOOL])
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"
    caller.expect("groq/tools")


def test_embeddings(caller):
    answer = client(caller).embeddings.create(**Case(FIXTURES / "groq/embeddings_plain").request)
    assert answer.data[0].embedding
    caller.expect("groq/embeddings_plain")


def test_speech(caller):
    answer = client(caller).audio.speech.create(**Case(FIXTURES / "groq/speech_plain").request)
    assert answer.read()
    caller.expect("groq/speech_plain")


def test_transcription(caller):
    answer = client(caller).audio.transcriptions.create(model="whisper-large-v3-turbo", file=("a.wav", b"x"))
    assert answer.text == "hi"
    (row,) = caller.rows(1)
    assert (row["endpoint"], row["model"]) == ("transcription", "whisper-large-v3-turbo")


def test_a_wrong_key_raises_authentication_error(wrong):
    with pytest.raises(groq.AuthenticationError):
        client(wrong).chat.completions.create(**CHAT)


def test_a_rate_limit_raises_rate_limit_error(limited):
    client(limited).chat.completions.create(**CHAT)
    with pytest.raises(groq.RateLimitError):
        client(limited, max_retries=0).chat.completions.create(**CHAT)
    limited.expect("groq/plain")
