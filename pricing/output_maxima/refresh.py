#!/usr/bin/env python3
"""Writes models.json beside this file: the most tokens one answer of a model can have.

    python3 pricing/output_maxima/refresh.py .cache/prices/lib/python3*/site-packages/litellm/model_prices_and_context_window_backup.json 1.109.1

The source is the file that the PyPI package litellm (MIT) carries; the second argument is its version.
A limit reserves this much output for a request that names no maximum of its own (docs/limits.md).
"""

import datetime
import json
import pathlib
import sys

# litellm's names of providers, by how they begin, and ours.
PROVIDERS = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex_ai": "vertex",
    "bedrock": "bedrock",
    "groq": "groq",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "xai": "xai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
    "moonshot": "moonshot",
    "cohere": "cohere",
}
NOT_OURS = ("azure_ai", "azure_text", "bedrock_mantle")
MODES = ("chat", "completion", "responses", "realtime")


def ours(name):
    if name.startswith(NOT_OURS):
        return None
    for theirs, own in PROVIDERS.items():
        if name == theirs or name.startswith((theirs + "-", theirs + "_")):
            return own
    return None


def main(path, version):
    found = {own: {} for own in sorted(set(PROVIDERS.values()))}
    for key, model in json.loads(pathlib.Path(path).read_text()).items():
        if not isinstance(model, dict) or model.get("mode") not in MODES:
            continue
        theirs = str(model.get("litellm_provider"))
        provider, most = ours(theirs), model.get("max_output_tokens")
        if provider is None or not isinstance(most, int) or most <= 0:
            continue
        # "groq/llama-…", "bedrock/us-east-1/…": the model's own name stands last of what is prefixed.
        name = key
        first = key.split("/")[0]
        if "/" in key and ours(first) == provider:
            name = key.split("/", 1)[1]
        if provider in ("bedrock", "azure"):
            name = name.rsplit("/", 1)[-1]
        # Of two the larger: it is a bound.
        found[provider][name] = max(most, found[provider].get(name, 0))
    written = {
        "source": f"https://pypi.org/project/litellm/{version}/",
        "checked_on": datetime.date.today().isoformat(),
        "providers": {name: dict(sorted(models.items())) for name, models in found.items() if models},
    }
    out = pathlib.Path(__file__).with_name("models.json")
    out.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    print({name: len(models) for name, models in written["providers"].items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
