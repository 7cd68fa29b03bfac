"""Limits as SDKs meet them: the usual typed error, and no retry where none can help."""

import urllib.request
import uuid

import anthropic
import openai
import pytest
from stand import FIXTURES, Caller
from upstream import Case

CHAT = Case(FIXTURES / "openai/plain").request
MESSAGE = Case(FIXTURES / "anthropic/plain").request


@pytest.fixture
def spent(farebox):
    """A caller of a tenant that may not spend a single call."""
    def make(*limit):
        tenant = f"sdk-{uuid.uuid4().hex}"
        farebox.verb("tenant", "create", tenant)
        farebox.verb("limit", "set", "--tenant", tenant, *limit)
        return Caller(farebox, tenant, farebox.issue("--tenant", tenant))
    return make


BUDGET = ["--meter", "usd", "--amount", "0.000000000001", "--window", "month"]
TOKENS = ["--meter", "tokens", "--amount", "1", "--window", "day"]


def refusals(caller, code):
    """How many calls of the tenant the proxy refused."""
    url = f"{caller.stand.connection['ops_url']}/metrics"
    text = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).read().decode()
    wanted = [f'tenant="{caller.tenant}"', f'code="{code}"']
    lines = [line for line in text.splitlines() if line.startswith("farebox_refusals_total")]
    return sum(int(line.split()[-1]) for line in lines if all(part in line for part in wanted))


@pytest.mark.parametrize("limit, code", [(BUDGET, "budget_exceeded"), (TOKENS, "quantity_exceeded")])
def test_openai_raises_once(spent, limit, code):
    caller = spent(*limit)
    client = openai.OpenAI(base_url=caller.url("openai", "/v1"), api_key=caller.key, max_retries=3)
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(**CHAT)
    assert raised.value.code == code
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert "amount" in raised.value.message and "resets_at" in raised.value.message
    assert refusals(caller, code) == 1


def test_anthropic_raises_once(spent):
    caller = spent(*BUDGET)
    client = anthropic.Anthropic(base_url=caller.url("anthropic"), api_key=caller.key, max_retries=3)
    with pytest.raises(anthropic.RateLimitError) as raised:
        client.messages.create(**MESSAGE)
    assert raised.value.response.headers["x-farebox-error"] == "budget_exceeded"
    assert refusals(caller, "budget_exceeded") == 1
