"""Deepgram's Python SDK, unmodified: a prerecorded file over REST."""

import ssl

import deepgram
import httpx
import pytest
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment

SECOND = b"\x00\x00" * 16_000


def client(way, key):
    url, verify = way
    base = f"{url}/deepgram"
    environment = DeepgramClientEnvironment(base=base, production=base, agent=base, agent_rest=base)
    options = {}
    if verify is not True:
        context = ssl.create_default_context(cafile=verify)
        options["httpx_client"] = httpx.Client(verify=context, trust_env=False)
    return deepgram.DeepgramClient(api_key=key, environment=environment, **options)


def test_listen(farebox, way, tenant):
    answer = client(way, farebox.issue("--tenant", tenant)).listen.v1.media.transcribe_file(
        request=SECOND, model="nova-3", encoding="linear16"
    )
    assert answer.results.channels[0].alternatives[0].transcript
    (row,) = farebox.rows(tenant, 1)
    assert row["endpoint"] == "listen"
    assert float(row["usage"]["audio_seconds"]) > 0


def test_a_wrong_key_is_401(farebox, way):
    key = farebox.issue("--may-attribute", "any")
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    with pytest.raises(ApiError) as raised:
        client(way, wrong).listen.v1.media.transcribe_file(request=SECOND, model="nova-3")
    assert raised.value.status_code == 401
