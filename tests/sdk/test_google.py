"""Google's Python SDK (google-genai), unmodified; its live sessions go over TLS as it insists."""

import asyncio

import pytest
from google import genai
from google.genai import errors, types

MODEL = "gemini-3.8-flash"


def weather(town: str) -> str:
    """The weather of a town."""
    return f"Sun in {town}."


def client(caller, scheme="http"):
    options = types.HttpOptions(base_url=caller.url("gemini", scheme=scheme))
    made = genai.Client(api_key=caller.key, http_options=options)
    # A client closes its connections when nothing holds it any more.
    caller.client = made
    return made


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_generate(caller, scheme):
    answer = client(caller, scheme).models.generate_content(model=MODEL, contents="Say hi.")
    assert answer.text == "Hi"
    row = caller.expect("gemini/plain")
    assert (row["endpoint"], row["provider"]) == ("generate_content", "gemini")


def test_stream(caller):
    assert "".join(chunk.text or "" for chunk in client(caller).models.generate_content_stream(model=MODEL, contents="Say hi."))
    caller.expect("gemini/stream")


def test_tools(caller):
    calling = types.AutomaticFunctionCallingConfig(disable=True)
    config = types.GenerateContentConfig(tools=[weather], automatic_function_calling=calling)
    answer = client(caller).models.generate_content(model=MODEL, contents="Sun?", config=config)
    assert [(call.name, call.args) for call in answer.function_calls] == [("weather", {"town": "Graz"})]
    caller.expect("gemini/tools")


def test_embeddings(caller):
    answer = client(caller).models.embed_content(model="gemini-embedding-2", contents="Say hello to the world.")
    assert answer.embeddings[0].values
    caller.expect("gemini/embeddings_several")


def test_speech(caller):
    config = types.GenerateContentConfig(response_modalities=["AUDIO"])
    answer = client(caller).models.generate_content(
        model="gemini-3.1-flash-tts-preview", contents="Say hello.", config=config
    )
    assert answer.candidates[0].content.parts[0].inline_data.data
    caller.expect("gemini/speech_out")


def test_audio(caller):
    sound = types.Part.from_bytes(data=b"RIFF", mime_type="audio/wav")
    answer = client(caller).models.generate_content(model="gemini-3.8-pro", contents=["What is said?", sound])
    assert answer.text == "hi"
    caller.expect("gemini/speech_in")


def test_live_audio(caller):
    async def talk():
        config = {"response_modalities": ["AUDIO"]}
        async with client(caller, "https").aio.live.connect(model="gemini-live", config=config) as session:
            sound = types.Blob(data=bytes(32_000), mime_type="audio/pcm;rate=16000")
            await session.send_realtime_input(audio=sound)
            await session.send_realtime_input(audio_stream_end=True)
            return [message async for message in session.receive()]

    messages = asyncio.run(talk())
    assert sum(len(message.data or b"") for message in messages) == 32_000
    turns = [row["usage"] for row in caller.session() if row["usage"]]
    expected = {"input_tokens": "0", "input_audio_tokens": "25", "output_tokens": "0", "output_audio_tokens": "32"}
    assert turns == [expected]


def test_live(caller):
    async def talk():
        config = {"response_modalities": ["TEXT"]}
        async with client(caller, "https").aio.live.connect(model="gemini-live", config=config) as session:
            turn = types.Content(role="user", parts=[types.Part(text="Say hi.")])
            await session.send_client_content(turns=turn, turn_complete=True)
            return [message async for message in session.receive()]

    messages = asyncio.run(talk())
    assert messages[-1].usage_metadata.total_token_count == 20
    turns = [row["usage"] for row in caller.session() if row["usage"].get("output_tokens")]
    assert turns == [{"input_tokens": "12", "output_tokens": "8"}]


def test_a_wrong_key_raises_client_error(wrong):
    with pytest.raises(errors.ClientError) as raised:
        client(wrong).models.generate_content(model=MODEL, contents="Say hi.")
    assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")


def test_a_rate_limit_raises_client_error(limited):
    client(limited).models.generate_content(model=MODEL, contents="Say hi.")
    with pytest.raises(errors.ClientError) as raised:
        client(limited).models.generate_content(model=MODEL, contents="Say hi.")
    assert (raised.value.code, raised.value.status) == (429, "RESOURCE_EXHAUSTED")
    limited.expect("gemini/plain")
