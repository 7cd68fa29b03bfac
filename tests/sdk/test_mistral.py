"""Mistral's Python SDK, unmodified."""

import asyncio

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from stand import FIXTURES
from upstream import Case

CHAT = Case(FIXTURES / "mistral/plain").request
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"town": {"type": "string"}}}},
}


def client(caller, scheme="http"):
    return Mistral(server_url=caller.url("mistral", scheme=scheme), api_key=caller.key)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_chat(caller, scheme):
    assert client(caller, scheme).chat.complete(**CHAT).choices[0].message.content == "Hello."
    assert caller.expect("mistral/plain")["provider"] == "mistral"


def test_stream(caller):
    events = list(client(caller).chat.stream(**CHAT))
    assert "".join(event.data.choices[0].delta.content or "" for event in events) == "Hello"
    caller.expect("mistral/stream")


def test_tools(caller):
    answer = client(caller).chat.complete(**CHAT, tools=[TOOL])
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"
    caller.expect("mistral/tools")


def test_embeddings(caller):
    request = Case(FIXTURES / "mistral/embeddings_plain").request
    answer = client(caller).embeddings.create(model=request["model"], inputs=request["input"])
    assert answer.data[0].embedding
    caller.expect("mistral/embeddings_plain")


def test_transcription(caller):
    answer = client(caller).audio.transcriptions.complete(
        model="voxtral-mini-latest", file={"file_name": "a.wav", "content": b"x"}
    )
    assert answer.text
    caller.expect("mistral/transcription_plain")


def test_a_stream_of_a_transcription(caller):
    with client(caller).audio.transcriptions.stream(
        model="voxtral-mini-latest", file={"file_name": "a.wav", "content": b"x"}
    ) as events:
        assert "".join(event.data.text for event in events if event.event == "transcription.text.delta") == "hi"
    caller.expect("mistral/transcription_stream")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_transcription_over_a_socket(caller, scheme):
    async def audio():
        for _ in range(3):
            yield bytes(32_000)

    async def listen():
        realtime = client(caller, scheme).audio.realtime
        model = "voxtral-mini-transcribe-realtime-2602"
        return [event async for event in realtime.transcribe_stream(audio(), model)]

    assert asyncio.run(listen())[-1].text == "hi"
    rows = [row for row in caller.session() if row["usage"]]
    assert [(row["usage_source"], row["usage"]) for row in rows] == [("reported", {"audio_seconds": "3"})]


def test_speech(caller):
    request = Case(FIXTURES / "mistral/speech_plain").request
    assert client(caller).audio.speech.complete(**request).audio_data
    caller.expect("mistral/speech_plain")


def test_a_stream_of_speech(caller):
    request = Case(FIXTURES / "mistral/speech_stream").request
    with client(caller).audio.speech.complete(**request) as events:
        assert [event.event for event in events] == ["speech.audio.delta", "speech.audio.done"]
    caller.expect("mistral/speech_stream")


def test_ocr(caller):
    request = Case(FIXTURES / "mistral/ocr_plain").request
    assert client(caller).ocr.process(**request).usage_info.pages_processed
    caller.expect("mistral/ocr_plain")


def test_a_wrong_key_is_401(wrong):
    with pytest.raises(SDKError) as raised:
        client(wrong).chat.complete(**CHAT)
    assert raised.value.status_code == 401


def test_a_rate_limit_is_429(limited):
    client(limited).chat.complete(**CHAT)
    with pytest.raises(SDKError) as raised:
        client(limited).chat.complete(**CHAT, retries=None)
    assert raised.value.status_code == 429
    limited.expect("mistral/plain")
