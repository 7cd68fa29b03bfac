"""ElevenLabs' Python SDK, unmodified; its sockets go over TLS as it insists."""

import asyncio
import base64
import io

import pytest
from elevenlabs import AudioFormat, RealtimeEvents
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError

SPEECH = {"text": "Héllo 😀", "model_id": "eleven_flash_v2_5", "output_format": "mp3_44100_128"}


def client(caller, scheme="http"):
    return ElevenLabs(base_url=caller.url("elevenlabs", scheme=scheme), api_key=caller.key)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_speech(caller, scheme):
    assert b"".join(client(caller, scheme).text_to_speech.convert("v1oice", **SPEECH))
    row = caller.expect("elevenlabs/speech_plain")
    assert (row["endpoint"], row["provider"]) == ("speech", "elevenlabs")


def test_speech_with_timestamps(caller):
    list(client(caller).text_to_speech.stream_with_timestamps("v1oice", **SPEECH))
    caller.expect("elevenlabs/speech_stream")


def test_transcription(caller):
    answer = client(caller).speech_to_text.convert(model_id="scribe_v2", file=io.BytesIO(b"x"))
    assert answer.text == "hi"
    caller.expect("elevenlabs/transcription_plain")


def test_speech_over_a_socket(caller):
    speaking = client(caller, "https").text_to_speech.convert_realtime(
        "v1oice", text=iter(["Hello ", "world."]), model_id="eleven_flash_v2_5"
    )
    assert b"".join(speaking) == b"ID3 sound"
    row = caller.session()[-1]
    assert (row["endpoint"], row["tenant_id"]) == ("speech", caller.tenant)


def test_transcription_over_a_socket(caller):
    """This one takes its address as it is given, so it is given one of a socket."""
    second = base64.b64encode(bytes(32_000)).decode()

    async def listen():
        told = asyncio.get_running_loop().create_future()
        options = {"model_id": "scribe_v2_realtime", "audio_format": AudioFormat.PCM_16000, "sample_rate": 16_000}
        connection = await client(caller, "wss").speech_to_text.realtime.connect(options)
        connection.on(RealtimeEvents.COMMITTED_TRANSCRIPT, told.set_result)
        for _ in range(3):
            await connection.send({"audio_base_64": second})
        await connection.commit()
        text = (await asyncio.wait_for(told, 30))["text"]
        await connection.close()
        return text

    assert asyncio.run(listen()) == "hi"
    row = caller.session()[-1]
    assert (row["endpoint"], row["model"], row["usage"]) == ("transcription", "scribe_v2_realtime", {"audio_seconds": "3"})


def test_a_wrong_key_is_401(wrong):
    with pytest.raises(ApiError) as raised:
        b"".join(client(wrong).text_to_speech.convert("v1oice", **SPEECH))
    assert raised.value.status_code == 401


def test_a_rate_limit_is_429(limited):
    b"".join(client(limited).text_to_speech.convert("v1oice", **SPEECH))
    with pytest.raises(ApiError) as raised:
        b"".join(client(limited).text_to_speech.convert("v1oice", **SPEECH, request_options={"max_retries": 0}))
    assert raised.value.status_code == 429
    limited.expect("elevenlabs/speech_plain")
