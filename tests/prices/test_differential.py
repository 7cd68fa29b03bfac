"""Our prices against the arithmetic of genai-prices and litellm, over every model they list.

The packages' own code computes what a usage costs; `farebox price quote --batch` says what we would
book. Where the two differ by more than a float's error, docs/reference/price-differences.md must say
why, and every line there must still be needed.
"""

import datetime
import fnmatch
import json
import os
import re
import subprocess
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_MODE"] = "PRODUCTION"

import pytest  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/price-differences.md"
FAREBOX = os.environ["FAREBOX_BIN"]
AT = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.timezone.utc)
# A float's error on sums of a few terms; the packages compute with floats.
TOLERANCE = Decimal("1e-9")

# Fresh input, read from a cache, output. The last one is behind every long-context bound.
USAGES = [
    {"input_tokens": 1000, "output_tokens": 500},
    {"input_tokens": 50_000, "cache_read_tokens": 60_000, "output_tokens": 2_000},
    {"input_tokens": 120_000, "cache_read_tokens": 180_000, "output_tokens": 10_000},
]

# Our vendor: its name in genai-prices, its names in litellm, what litellm puts before its models.
VENDORS = {
    "openai": ("openai", ["openai"], ["openai/"]),
    "anthropic": ("anthropic", ["anthropic"], ["anthropic/"]),
    "gemini": ("google", ["gemini"], ["gemini/"]),
    "groq": ("groq", ["groq"], ["groq/"]),
    "mistral": ("mistral", ["mistral", "codestral"], ["mistral/", "codestral/"]),
    "deepseek": ("deepseek", ["deepseek"], ["deepseek/"]),
    "xai": ("x-ai", ["xai"], ["xai/"]),
    "together": ("together", ["together_ai"], ["together_ai/"]),
    "fireworks": ("fireworks", ["fireworks_ai"], ["fireworks_ai/"]),
    "openrouter": ("openrouter", ["openrouter"], ["openrouter/"]),
    "perplexity": ("perplexity", ["perplexity"], ["perplexity/"]),
    "cerebras": ("cerebras", ["cerebras"], ["cerebras/"]),
    "moonshot": ("moonshotai", ["moonshot"], ["moonshot/"]),
    "cohere": ("cohere", ["cohere", "cohere_chat"], ["cohere/", "cohere_chat/"]),
    "voyage": ("voyageai", ["voyage"], ["voyage/"]),
    "azure": ("azure", ["azure", "azure_ai"], ["azure/", "azure_ai/"]),
    "vertex": (None, ["vertex_ai-language-models", "vertex_ai-anthropic_models"], ["vertex_ai/"]),
    "bedrock": ("aws", ["bedrock", "bedrock_converse"], ["bedrock/", "bedrock_converse/"]),
}


def has_output(model):
    """Embeddings have no output, and no price for it."""
    prices = model.prices if isinstance(model.prices, list) else [model]
    return any(one.prices.output_mtok is not None for one in prices)


def of_genai():
    """(vendor, model, usage, their cost) of each model that genai-prices lists."""
    from genai_prices import Usage, calc_price
    from genai_prices.data import providers

    ours = {names[0]: vendor for vendor, names in VENDORS.items()}
    for provider in providers:
        vendor = ours.get(provider.id)
        for model in provider.models if vendor else ():
            for usage in USAGES:
                cached = usage.get("cache_read_tokens", 0)
                if not has_output(model):
                    usage = {**usage, "output_tokens": 0}
                asked = Usage(
                    input_tokens=usage["input_tokens"] + cached,
                    cache_read_tokens=cached or None,
                    output_tokens=usage["output_tokens"],
                )
                try:
                    cost = calc_price(
                        asked, model_ref=model.id, provider_id=provider.id,
                        genai_request_timestamp=AT,
                    )
                except (LookupError, ValueError):
                    continue
                if cost.model.id == model.id and cost.total_price:
                    yield vendor, model.id, usage, Decimal(cost.total_price)


def of_litellm():
    """The same of litellm, models of text alone: its other modes have units of their own."""
    import litellm

    litellm.suppress_debug_info = True
    vendors = {name: vendor for vendor, (_, names, _) in VENDORS.items() for name in names}
    for key, entry in litellm.model_cost.items():
        vendor = vendors.get(entry.get("litellm_provider"))
        if vendor is None or entry.get("mode") not in ("chat", "completion", "responses"):
            continue
        prefixes = VENDORS[vendor][2]
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
        model = key.removeprefix(prefix)
        # Its code prices these as of the hour and day on which the test runs; ours are as of `AT`.
        if entry.get("off_peak_pricing"):
            continue
        # Names with a place in them are other prices under one name; ours name the place.
        if "/" in model and vendor in ("azure", "bedrock"):
            continue
        for usage in USAGES:
            cached = usage.get("cache_read_tokens", 0)
            if cached and entry.get("cache_read_input_token_cost") is None:
                continue
            try:
                prompt, completion = litellm.cost_per_token(
                    model=key,
                    prompt_tokens=usage["input_tokens"] + cached,
                    completion_tokens=usage["output_tokens"],
                    cache_read_input_tokens=cached,
                    custom_llm_provider=entry["litellm_provider"].split("-")[0],
                )
            except Exception:  # noqa: BLE001 - a model that it lists and cannot price
                continue
            if prompt + completion > 0:
                yield vendor, model, usage, Decimal(repr(prompt + completion))


def quote(cases):
    lines = [
        json.dumps({
            "provider": vendor, "model": model, "at": AT.isoformat().replace("+00:00", "Z"),
            "usage": {meter: str(count) for meter, count in usage.items()},
        })
        for vendor, model, usage, _ in cases
    ]
    run = subprocess.run(
        [FAREBOX, "price", "quote", "--batch"], input="\n".join(lines) + "\n",
        capture_output=True, text=True, check=True, timeout=120,
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def differences(cases):
    """{(vendor, model): what differs} of the models whose costs are not ours."""
    found = defaultdict(list)
    for (vendor, model, usage, theirs), ours in zip(cases, quote(cases), strict=True):
        cost = ours["cost_usd"]
        if cost is None:
            found[vendor, model].append("we have no price")
        elif abs(Decimal(cost) - theirs) > theirs * TOLERANCE:
            found[vendor, model].append(f"{sum(usage.values())} tokens: {cost}, they say {theirs}")
    return found


def explained(package):
    """Rows of the page's table: (vendor, pattern of models)."""
    rows = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[0] == package:
            for pattern in re.findall(r"`([^`]+)`", cells[2]):
                rows.append((cells[1], pattern))
            assert len(cells[3]) > 20, f"no reason: {line}"
    return rows


@pytest.mark.parametrize(
    ("package", "source", "least"), [("genai-prices", of_genai, 1500), ("litellm", of_litellm, 1500)]
)
def test_every_disagreement_is_explained(package, source, least):
    cases = list(source())
    assert len(cases) >= least, f"only {len(cases)} costs to compare"
    found = differences(cases)
    models = {(vendor, model) for vendor, model, _, _ in cases}
    print(f"{package}: {len(cases)} costs of {len(models)} models, {len(found)} models differ")
    rows = explained(package)

    def is_explained(place):
        return [row for row in rows if row[0] == place[0] and fnmatch.fnmatchcase(place[1], row[1])]

    silent = {place: why for place, why in found.items() if not is_explained(place)}
    told = "\n".join(f"{vendor} {model}: {why[0]}" for (vendor, model), why in sorted(silent.items()))
    assert not silent, f"{len(silent)} models differ and {PAGE.name} does not say why:\n{told}"
    needed = {row for place in found for row in is_explained(place)}
    stale = sorted(set(rows) - needed)
    assert not stale, f"explained, but nothing differs any more: {stale}"
