"""Live sessions of the vendors that have sockets, as their SDKs expect them, and the little of
RFC 6455 that a server needs for it."""

import base64
import json
import struct

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
SECOND = 32_000
REQUEST = "00000000-0000-4000-8000-000000000001"


class Closed(Exception):
    """The other side said goodbye or is gone."""


class Socket:
    """A server's side of an open socket; the SDKs send no fragments."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    def read(self, count):
        data = self.reader.read(count)
        if len(data) != count:
            raise Closed
        return data

    def receive(self):
        """The next message: text as `str`, binary as `bytes`."""
        while True:
            first, second = self.read(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self.read(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self.read(8))
            mask = self.read(4)
            payload = self.read(length)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            opcode = first & 0x0F
            if opcode == TEXT:
                return payload.decode()
            if opcode == BINARY:
                return payload
            if opcode == PING:
                self.send(PONG, payload)
            if opcode == CLOSE:
                self.send(CLOSE, payload)
                raise Closed

    def json(self):
        return json.loads(self.receive())

    def send(self, opcode, payload):
        length = len(payload)
        head = bytes([0x80 | opcode])
        if length < 126:
            head += bytes([length])
        elif length < 65_536:
            head += struct.pack("!BH", 126, length)
        else:
            head += struct.pack("!BQ", 127, length)
        self.writer.write(head + payload)
        self.writer.flush()

    def say(self, **members):
        self.send(TEXT, json.dumps(members).encode())

    def close(self, code=1000):
        self.send(CLOSE, struct.pack("!H", code))


def session(serve):
    """Ends quietly where the caller ends."""

    def run(socket):
        try:
            serve(socket)
        except (Closed, OSError):
            pass

    run.__name__ = serve.__name__
    return run


@session
def realtime(socket):
    """OpenAI's: one text answer with its usage for each `response.create`."""
    described = {"id": "sess_1", "object": "realtime.session", "type": "realtime", "model": "gpt-realtime"}
    socket.say(type="session.created", event_id="event_1", session=described)
    number = 0
    while True:
        event = socket.json()
        if event["type"] == "session.update":
            socket.say(type="session.updated", event_id="event_2", session=described)
        if event["type"] != "response.create":
            continue
        number += 1
        answer = {"id": f"resp_{number}", "object": "realtime.response", "status": "in_progress", "output": []}
        socket.say(type="response.created", event_id=f"event_c{number}", response=answer)
        where = {"response_id": answer["id"], "item_id": "item_1", "output_index": 0, "content_index": 0}
        socket.say(type="response.output_text.delta", event_id=f"event_d{number}", delta="Hello.", **where)
        usage = {
            "total_tokens": 30,
            "input_tokens": 20,
            "output_tokens": 10,
            "input_token_details": {"text_tokens": 20, "audio_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 10, "audio_tokens": 0},
        }
        done = answer | {"status": "completed", "usage": usage}
        socket.say(type="response.done", event_id=f"event_e{number}", response=done)


@session
def listen(socket):
    """Deepgram's: a result for each second of audio, the metadata at the end."""
    seconds = 0.0
    while True:
        message = socket.receive()
        if isinstance(message, bytes):
            socket.say(
                type="Results", channel_index=[0, 1], start=seconds, duration=len(message) / SECOND,
                is_final=True, speech_final=False, from_finalize=False,
                channel={"alternatives": [{"transcript": "hi", "confidence": 0.9, "words": []}]},
                metadata={
                    "request_id": REQUEST, "model_uuid": "00000000-0000-4000-8000-000000000002",
                    "model_info": {"name": "general-nova-3", "version": "v", "arch": "nova-3"},
                },
            )
            seconds += len(message) / SECOND
        elif json.loads(message)["type"] == "CloseStream":
            socket.say(
                type="Metadata", transaction_key="deprecated", request_id=REQUEST,
                sha256="00", created="2026-11-22T00:00:05.000Z", duration=seconds, channels=1,
            )
            socket.close()
            return


@session
def speak(socket):
    """Deepgram's: the sound of what was said, at each flush."""
    socket.say(type="Metadata", request_id="00000000-0000-4000-8000-000000000003", model_name="aura-2-thalia-en", model_version="v", model_uuid="00000000-0000-4000-8000-000000000004")
    flushed = 0
    while True:
        kind = socket.json()["type"]
        if kind == "Flush":
            socket.send(BINARY, b"\x00" * SECOND)
            socket.say(type="Flushed", sequence_id=flushed)
            flushed += 1
        if kind == "Close":
            socket.close()
            return


@session
def listen_by_turns(socket):
    """Deepgram's second version: a turn for each second of audio, and no duration at the end."""
    number = 0
    socket.say(type="Connected", request_id=REQUEST, sequence_id=0)
    while True:
        message = socket.receive()
        if isinstance(message, bytes):
            socket.say(
                type="TurnInfo", request_id=REQUEST, sequence_id=number + 1, event="EndOfTurn", turn_index=number,
                audio_window_start=float(number), audio_window_end=number + len(message) / SECOND, transcript="hi",
                words=[], end_of_turn_confidence=0.9,
            )
            number += 1
        elif json.loads(message)["type"] == "CloseStream":
            socket.close()
            return


@session
def converse(socket):
    """Deepgram's agent: it says what was said and then its sound."""
    socket.say(type="Welcome", request_id=REQUEST)
    while True:
        message = socket.receive()
        if isinstance(message, bytes):
            socket.say(type="ConversationText", role="assistant", content="hi")
            socket.send(BINARY, b"\x00" * SECOND)
            socket.say(type="AgentAudioDone")
        elif json.loads(message)["type"] == "Settings":
            socket.say(type="SettingsApplied")


@session
def scribe(socket):
    """ElevenLabs': a transcript for each commit."""
    socket.say(message_type="session_started", session_id="scribe-1", config={})
    while True:
        chunk = socket.json()
        if chunk["commit"]:
            socket.say(message_type="committed_transcript", text="hi")


@session
def transcribe(socket):
    """Mistral's: what was heard, when no more audio comes."""
    described = {"request_id": "mistral-1", "model": "voxtral-mini-transcribe-realtime-2602"}
    described["audio_format"] = {"encoding": "pcm_s16le", "sample_rate": 16_000}
    socket.say(type="session.created", session=described)
    heard = 0
    while True:
        event = socket.json()
        if event["type"] == "input_audio.append":
            heard += len(base64.b64decode(event["audio"]))
        if event["type"] == "input_audio.end":
            usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "prompt_audio_seconds": heard // SECOND}
            socket.say(type="transcription.done", model=described["model"], text="hi", segments=[], language="en", usage=usage)


def counts(prompt, response):
    """Gemini's usage, by what each side is made of."""
    by = {
        f"{side}TokensDetails": [{"modality": modality, "tokenCount": count}]
        for side, (modality, count) in [("prompt", prompt), ("response", response)]
    }
    total = prompt[1] + response[1]
    return by | {"promptTokenCount": prompt[1], "responseTokenCount": response[1], "totalTokenCount": total}


@session
def live(socket):
    """Gemini's: one turn with its usage for each turn of the caller, of sound where it ends a sound."""
    assert "setup" in socket.json()
    socket.say(setupComplete={})
    while True:
        message = socket.json()
        sound = message.get("realtimeInput") or message.get("realtime_input") or {}
        if sound.get("audioStreamEnd") or sound.get("audio_stream_end"):
            part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(bytes(SECOND)).decode()}}
            socket.say(serverContent={"modelTurn": {"role": "model", "parts": [part]}})
            socket.say(serverContent={"turnComplete": True}, usageMetadata=counts(("AUDIO", 25), ("AUDIO", 32)))
            continue
        # Some versions of the SDK write the proto's own names.
        content = message.get("clientContent") or message.get("client_content") or {}
        if not (content.get("turnComplete") or content.get("turn_complete")):
            continue
        socket.say(serverContent={"modelTurn": {"role": "model", "parts": [{"text": "Hello."}]}})
        socket.say(serverContent={"turnComplete": True}, usageMetadata=counts(("TEXT", 12), ("TEXT", 8)))


@session
def stream_input(socket):
    """ElevenLabs': audio when the empty text says that no more will come."""
    while True:
        message = socket.json()
        if message["text"] == "":
            audio = base64.b64encode(b"ID3 sound").decode()
            socket.say(audio=audio, isFinal=None)
            socket.say(isFinal=True)
            socket.close()
            return


def find(vendor, path):
    """The session behind a path."""
    if vendor == "gemini" and "BidiGenerateContent" in path:
        return live
    if vendor == "elevenlabs" and path.endswith("/stream-input"):
        return stream_input
    found = {
        ("openai", "v1/realtime"): realtime,
        ("deepgram", "v1/listen"): listen,
        ("deepgram", "v2/listen"): listen_by_turns,
        ("deepgram", "v1/speak"): speak,
        ("deepgram", "v1/agent/converse"): converse,
        ("elevenlabs", "v1/speech-to-text/realtime"): scribe,
        ("mistral", "v1/audio/transcriptions/realtime"): transcribe,
    }
    return found.get((vendor, path))
