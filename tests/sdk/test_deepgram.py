"""Deepgram's Python SDK, unmodified: REST, and its sockets over TLS as it insists."""

import threading

import deepgram
import pytest
from deepgram.agent.v1.types import AgentV1Settings
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment
from deepgram.speak.v1.types import SpeakV1Text

SECOND = b"\x00\x00" * 16_000
LINK = {"url": "https://example.com/a.wav", "model": "nova-3", "smart_format": True}


def client(caller, secure=True):
    rest, socket = ("https", "wss") if secure else ("http", "ws")
    rest, socket = caller.url("deepgram", scheme=rest), caller.url("deepgram", scheme=socket)
    environment = DeepgramClientEnvironment(base=rest, production=socket, agent=socket, agent_rest=rest)
    return deepgram.DeepgramClient(api_key=caller.key, environment=environment)


@pytest.mark.parametrize("secure", [False, True])
def test_a_link(caller, secure):
    answer = client(caller, secure).listen.v1.media.transcribe_url(**LINK)
    assert answer.results.channels[0].alternatives[0].transcript == "hi"
    row = caller.expect("deepgram/plain")
    assert (row["endpoint"], row["provider"]) == ("listen", "deepgram")


def test_a_file(caller):
    client(caller).listen.v1.media.transcribe_file(request=SECOND, model="nova-3", smart_format=True)
    assert caller.expect("deepgram/plain")["request_bytes"] == len(SECOND)


def test_speak(caller):
    sound = client(caller).speak.v1.audio.generate(text="Hello", model="aura-2-thalia-en", encoding="mp3")
    assert b"".join(sound)
    assert caller.expect("deepgram/speak_plain")["endpoint"] == "speak"


def test_speak_over_a_socket(caller):
    heard = []
    flushed = threading.Event()

    def hear(message):
        heard.append(len(message) if isinstance(message, bytes) else message.type)
        if heard[-1] == "Flushed":
            flushed.set()

    with client(caller).speak.v1.connect(model="aura-2-thalia-en", encoding="linear16", sample_rate=16_000) as socket:
        socket.on(EventType.MESSAGE, hear)
        listening = threading.Thread(target=socket.start_listening, daemon=True)
        listening.start()
        socket.send_text(SpeakV1Text(text="Grüße 👋"))
        socket.send_flush()
        assert flushed.wait(30)
        socket.send_close()
        listening.join(30)
    assert heard == ["Metadata", len(SECOND), "Flushed"]
    rows = caller.session()
    assert [row["usage"]["characters"] for row in rows if row["usage"].get("characters")] == ["7"], rows
    assert (rows[0]["endpoint"], rows[0]["model"], rows[0]["usage_source"]) == ("speak", "aura-2-thalia-en", "measured")


@pytest.mark.parametrize("secure", [False, True])
def test_live(caller, secure):
    heard = []
    done = threading.Event()
    with client(caller, secure).listen.v1.connect(model="nova-3", encoding="linear16", sample_rate=16_000) as socket:
        def hear(message):
            heard.append(message.type)
            if message.type == "Metadata":
                done.set()

        socket.on(EventType.MESSAGE, hear)
        listening = threading.Thread(target=socket.start_listening, daemon=True)
        listening.start()
        for _ in range(3):
            socket.send_media(SECOND)
        socket.send_close_stream()
        assert done.wait(30)
        listening.join(30)
    assert heard == ["Results"] * 3 + ["Metadata"]
    (row,) = caller.rows(1)
    assert (row["transport"], row["ending"], row["model"]) == ("websocket", "complete", "nova-3")
    assert (row["usage_source"], row["usage"]["audio_seconds"]) == ("reported", "3")


def test_live_by_turns(caller):
    heard = []
    closed = threading.Event()
    asked = {"model": "flux-general-en", "encoding": "linear16", "sample_rate": 16_000}
    with client(caller).listen.v2.connect(**asked) as socket:
        socket.on(EventType.MESSAGE, lambda message: heard.append(message.type))
        socket.on(EventType.CLOSE, lambda _: closed.set())
        listening = threading.Thread(target=socket.start_listening, daemon=True)
        listening.start()
        for _ in range(2):
            socket.send_media(SECOND)
        socket.send_close_stream()
        assert closed.wait(30)
        listening.join(30)
    assert heard == ["Connected", "TurnInfo", "TurnInfo"]
    (row,) = caller.rows(1)
    assert (row["transport"], row["ending"], row["model"]) == ("websocket", "complete", "flux-general-en")
    assert (row["usage_source"], row["usage"]) == ("measured", {"audio_seconds": "2"})


def test_an_agent(caller):
    heard = []
    spoken = threading.Event()
    settings = AgentV1Settings(
        audio={"input": {"encoding": "linear16", "sample_rate": 16_000}},
        agent={
            "listen": {"provider": {"type": "deepgram", "model": "nova-3"}},
            "think": {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}},
            "speak": {"provider": {"type": "deepgram", "model": "aura-2-thalia-en"}},
        },
    )

    def hear(message):
        heard.append(len(message) if isinstance(message, bytes) else message.type)
        if heard[-1] == "AgentAudioDone":
            spoken.set()

    with client(caller).agent.v1.connect() as socket:
        socket.on(EventType.MESSAGE, hear)
        listening = threading.Thread(target=socket.start_listening, daemon=True)
        listening.start()
        socket.send_settings(settings)
        socket.send_media(SECOND)
        assert spoken.wait(30)
    listening.join(30)
    assert heard == ["Welcome", "SettingsApplied", "ConversationText", len(SECOND), "AgentAudioDone"]
    (row,) = caller.rows(1)
    assert (row["endpoint"], row["model"], row["usage_source"]) == ("agent", "agent/converse", "measured")
    assert row["lines"][0]["conditions"] == {"mode": "standard"}
    assert float(row["usage"]["session_seconds"]) >= 0 and list(row["usage"]) == ["session_seconds"]


def test_read(caller):
    answer = client(caller).read.v1.text.analyze(request={"text": "x"}, language="en", summarize=True, sentiment=True)
    assert answer.metadata
    caller.expect("deepgram/other_plain")


def test_a_wrong_key_is_401(wrong):
    with pytest.raises(ApiError) as raised:
        client(wrong).listen.v1.media.transcribe_url(**LINK)
    assert (raised.value.status_code, raised.value.body["err_code"]) == (401, "invalid_key")


def test_a_rate_limit_is_429(limited):
    client(limited).listen.v1.media.transcribe_url(**LINK)
    with pytest.raises(ApiError) as raised:
        client(limited).listen.v1.media.transcribe_url(**LINK, request_options={"max_retries": 0})
    assert (raised.value.status_code, raised.value.body["err_code"]) == (429, "rate_limited")
    limited.expect("deepgram/plain")
