#!/usr/bin/env python3
"""Brings models into the rate cards from the price data of two packages, for review.

    pip download --no-deps genai-prices litellm
    python3 refresh.py --genai-prices genai_prices-*.whl --litellm litellm-*.whl [--write] [vendor ...]

A model that a card has not is added, with both packages' prices where they differ. A price that
stands in a card is never changed: where a package prints another one, it is told, for a person to
decide. Without `--write` nothing is written. The packages' code is not run: only their data are
read. Afterwards the pins of cards that fall back on others are set anew.
"""

import argparse
import ast
import datetime
import json
import re
import sys
import zipfile
from decimal import Decimal, InvalidOperation
from pathlib import Path

from card_text import revision_of, text_of

HERE = Path(__file__).parent

# vendor: (names in genai-prices, names in litellm, what litellm puts before a model's name)
VENDORS = {
    "openai": (["openai"], ["openai", "text-completion-openai"], ["openai/"]),
    "anthropic": (["anthropic"], ["anthropic"], ["anthropic/"]),
    "gemini": (["google"], ["gemini"], ["gemini/"]),
    "vertex": ([], ["vertex_ai*"], ["vertex_ai/"]),
    "bedrock": (["aws"], ["bedrock", "bedrock_converse", "bedrock_mantle", "amazon_nova"],
                ["bedrock/", "bedrock_converse/", "bedrock_mantle/", "amazon_nova/"]),
    "azure": (["azure"], ["azure", "azure_ai", "azure_text"], ["azure/", "azure_ai/", "azure_text/"]),
    "groq": (["groq"], ["groq"], ["groq/"]),
    "mistral": (["mistral"], ["mistral", "codestral"], ["mistral/", "codestral/"]),
    "deepseek": (["deepseek"], ["deepseek"], ["deepseek/"]),
    "xai": (["x-ai"], ["xai"], ["xai/"]),
    "together": (["together"], ["together_ai"], ["together_ai/"]),
    "fireworks": (["fireworks"], ["fireworks_ai", "fireworks_ai-embedding-models"], ["fireworks_ai/"]),
    "openrouter": (["openrouter"], ["openrouter"], ["openrouter/"]),
    "perplexity": (["perplexity"], ["perplexity"], ["perplexity/"]),
    "cerebras": (["cerebras"], ["cerebras"], ["cerebras/"]),
    "moonshot": (["moonshotai"], ["moonshot"], ["moonshot/"]),
    "cohere": (["cohere"], ["cohere", "cohere_chat"], ["cohere/", "cohere_chat/"]),
    "voyage": (["voyageai"], ["voyage"], ["voyage/"]),
    "elevenlabs": (["elevenlabs"], ["elevenlabs"], ["elevenlabs/"]),
}

# Vendors whose own names litellm knows better: it reads AWS's price list, region by region.
LITELLM_FIRST = {"bedrock"}

# genai-prices: price key to (meter, units the price is for)
GENAI = {
    "input_mtok": ("input_tokens", 10**6),
    "cache_read_mtok": ("cache_read_tokens", 10**6),
    "cache_write_mtok": ("cache_write_tokens", 10**6),
    "cache_write_1h_mtok": ("cache_write_1h_tokens", 10**6),
    "output_mtok": ("output_tokens", 10**6),
    "output_reasoning_mtok": ("reasoning_tokens", 10**6),
    "input_audio_mtok": ("input_audio_tokens", 10**6),
    "cache_audio_read_mtok": ("cache_read_audio_tokens", 10**6),
    "output_audio_mtok": ("output_audio_tokens", 10**6),
    "input_image_mtok": ("input_image_tokens", 10**6),
    "cache_image_read_mtok": ("cache_read_image_tokens", 10**6),
    "output_image_mtok": ("output_image_tokens", 10**6),
    "input_video_mtok": ("input_video_tokens", 10**6),
    "audio_hours": ("audio_seconds", 3600),
    "input_audio_hours": ("audio_seconds", 3600),
    "input_mchars": ("characters", 10**6),
    "input_document_kpages": ("pages", 1000),
    "requests_kcount": ("requests", 1000),
    "input_text_messages_kcount": ("requests", 1000),
    "web_searches_kcount": ("web_searches", 1000),
    "storage_searches_kcount": ("file_searches", 1000),
}
# Keys that no meter is for, or that need a condition.
GENAI_CONDITIONAL = {"input_annotated_document_kpages": ("pages", 1000, {"annotated": "true"})}

# litellm: price key to (meter, units a price is shown for)
LITELLM = {
    "input_cost_per_token": ("input_tokens", 10**6),
    "cache_read_input_token_cost": ("cache_read_tokens", 10**6),
    "cache_creation_input_token_cost": ("cache_write_tokens", 10**6),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h_tokens", 10**6),
    "cache_creation_input_token_cost_above_12hr": ("cache_write_12h_tokens", 10**6),
    "output_cost_per_token": ("output_tokens", 10**6),
    "output_cost_per_reasoning_token": ("reasoning_tokens", 10**6),
    "input_cost_per_audio_token": ("input_audio_tokens", 10**6),
    "cache_read_input_audio_token_cost": ("cache_read_audio_tokens", 10**6),
    "output_cost_per_audio_token": ("output_audio_tokens", 10**6),
    "input_cost_per_image_token": ("input_image_tokens", 10**6),
    "cache_read_input_image_token_cost": ("cache_read_image_tokens", 10**6),
    "output_cost_per_image_token": ("output_image_tokens", 10**6),
    "input_cost_per_video_token": ("input_video_tokens", 10**6),
    "ocr_cost_per_page": ("pages", 1000),
    "input_cost_per_query": ("searches", 1000),
    "input_cost_per_request": ("requests", 1000),
}
LITELLM_BY_MODE = {
    "audio_transcription": {"input_cost_per_second": ("audio_seconds", 60)},
    "audio_speech": {
        "input_cost_per_character": ("characters", 10**6),
        "output_cost_per_second": ("output_audio_seconds", 60),
    },
    "image_generation": {"output_cost_per_image": ("images", 1)},
    "image_edit": {"output_cost_per_image": ("images", 1)},
    "video_generation": {
        "output_cost_per_second": ("video_seconds", 1),
        "output_cost_per_video_per_second": ("video_seconds", 1),
    },
}
LITELLM_VARIANTS = {
    "batches": {"batch": "true"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "ultrafast": {"service_tier": "ultrafast"},
}
RESOLUTIONS = ("480p", "720p", "768p", "1080p", "2k", "4k")
METERS = list(dict.fromkeys([meter for meter, _ in GENAI.values()] + [meter for meter, _ in LITELLM.values()]
                            + ["output_audio_seconds", "images", "video_seconds", "tool_calls"]))
# What the program takes off a name that it does not find.
DATED = re.compile(r"(-20[1-9]\d-[01]\d-[0-3]\d|-20[1-9]\d[01]\d[0-3]\d|@20[1-9]\d[01]\d[0-3]\d|@latest|-latest)$")
NAME_BYTES_MAX = 256
# Digits behind the point that leave room for factors.
SCALE_MAX = 10


class Prices:
    """A model's prices by one source: base prices by (meter, bound), and what varies them."""

    def __init__(self, source):
        self.source = source
        self.since = {}  # first day or "" -> {(meter, when as a tuple): (usd, per)}
        self.factors = []  # (factor, meters, when)

    def put(self, day, meter, per, usd, when=()):
        self.since.setdefault(day, {})[(meter, tuple(sorted(when)))] = (usd, per)


def text(value):
    """A decimal as a card writes it."""
    shown = format(value.normalize(), "f")
    return shown


def is_price(value):
    try:
        value = Decimal(str(value))
    except InvalidOperation:
        return False
    return value.is_finite() and value >= 0


def ratio(varied, base):
    """Their exact quotient, where it is a short decimal."""
    if base == 0:
        return Decimal(1) if varied == 0 else None
    quotient = varied / base
    short = round(quotient, 4)
    return short if short * base == varied else None


# --- genai-prices -------------------------------------------------------------------------------


def read_genai(path):
    with zipfile.ZipFile(path) as wheel:
        tree = ast.parse(wheel.read("genai_prices/data.py"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.target.id == "providers":
            return {provider["id"]: provider for provider in map(plain, node.value.elts)}
    sys.exit(f"{path}: no providers in it")


def plain(node):
    """Calls of data classes become dictionaries; nothing is run."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List):
        return [plain(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {plain(key): plain(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, ast.Attribute):
        return ast.unparse(node)
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rsplit(".", 1)[-1]
        positional = [plain(item) for item in node.args]
        if name == "Decimal":
            return Decimal(positional[0])
        if name == "date":
            return str(datetime.date(*positional))
        if name == "time":
            return "%02d:%02d" % (positional[0], positional[1])
        return {"class": name, **{item.arg: plain(item.value) for item in node.keywords}}
    raise ValueError(ast.unparse(node))


def genai_models(provider, source):
    for model in provider["models"]:
        prices = Prices(source)
        stated = model.get("prices")
        if isinstance(stated, dict):
            stated = [{"prices": stated}]
        for conditional in stated or []:
            day, hours = "", None
            constraint = conditional.get("constraint") or {}
            if "start_date" in constraint:
                day = constraint["start_date"]
            if "start_time" in constraint:
                hours = f"{constraint['start_time']}-{constraint['end_time']}"
            put_genai(prices, day, hours, conditional["prices"])
        variants = model.get("price_variants") or []
        for variant in variants:
            vary_genai(prices, variant)
        yield genai_names(model), prices


def put_genai(prices, day, hours, stated):
    for key, price in stated.items():
        known = GENAI.get(key)
        when = [("utc_hours", hours)] if hours else []
        if key in GENAI_CONDITIONAL:
            meter, per, extra = GENAI_CONDITIONAL[key]
            known, when = (meter, per), when + list(extra.items())
        if known is None or price is None:
            continue
        meter, per = known
        tiers = [(price, [])]
        if isinstance(price, dict):
            tiers = [(price["base"], [])]
            for tier in price["tiers"]:
                start = tier["start"]
                inclusive = start % 1000 == 999
                bound = ("input_at_least", str(start + 1)) if inclusive else ("input_above", str(start))
                tiers.append((tier["price"], [bound]))
        for usd, bound in tiers:
            prices.put(day, meter, per, usd, when + bound)


CONDITION_NAMES = {"processing": "batch"}


def vary_genai(prices, variant):
    """A variant becomes factors on the latest base prices, where it is a factor of them."""
    when = dict(variant["when"])
    if when.get("service_tier") in ("default", "fast") or "route" in when or "search_type" in when:
        return
    if when.pop("processing", None) == "batch":
        when["batch"] = "true"
    varied = Prices("")
    put_genai(varied, "", None, variant["prices"])
    latest = prices.since[max(prices.since)] if prices.since else {}
    vary(prices, latest, varied.since.get("", {}), when)


def vary(prices, base, varied, when):
    by_ratio = {}
    for meter in dict.fromkeys(meter for meter, _ in varied):
        if not meter.endswith("_tokens"):
            continue
        found = {
            ratio(usd, base[(meter, bound)][0])
            for (of, bound), (usd, _) in varied.items()
            if of == meter and (meter, bound) in base
        }
        if len(found) == 1 and None not in found:
            by_ratio.setdefault(found.pop(), []).append(meter)
    for factor, meters in by_ratio.items():
        if "output_tokens" in meters and not any(meter == "reasoning_tokens" for meter, _ in base):
            meters.append("reasoning_tokens")
        # A factor of one says that the condition is known and costs nothing more.
        prices.factors.append((factor, meters, when))


def genai_names(model):
    names = [model["id"]]
    starts = []
    clauses = [model.get("match") or {}]
    while clauses:
        clause = clauses.pop()
        clauses.extend(clause.get("or_", []))
        if "equals" in clause:
            names.append(clause["equals"])
        if "starts_with" in clause:
            starts.append(clause["starts_with"])
    # What a longer id starts with is a name of its own: `claude-3-5-haiku` of `-latest`.
    names += [start for start in starts if model["id"].startswith(start + "-")]
    return list(dict.fromkeys(names))


# --- litellm ------------------------------------------------------------------------------------


def read_litellm(path):
    member = "litellm/model_prices_and_context_window_backup.json"
    with zipfile.ZipFile(path) as wheel:
        return json.loads(wheel.read(member), parse_float=Decimal, parse_int=Decimal)


def litellm_models(table, vendor, source):
    _, names, starts = VENDORS[vendor]
    for name, entry in table.items():
        of = entry.get("litellm_provider") or ""
        is_ours = any(of == ours or (ours.endswith("*") and of.startswith(ours[:-1])) for ours in names)
        if not is_ours or "sample_spec" in name:
            continue
        for start in starts:
            name = name.removeprefix(start)
        # Sizes and regions as parts of a name are how that package looks up, not how vendors name.
        if re.search(r"-x-|^(low|medium|high|hd|standard|auto|1024|\d+-steps)/", name):
            continue
        prices = Prices(source)
        put_litellm(prices, entry)
        yield [name], prices


def put_litellm(prices, entry):
    keys = {**LITELLM, **LITELLM_BY_MODE.get(entry.get("mode"), {})}
    varied = {variant: Prices("") for variant in LITELLM_VARIANTS}
    for key, price in entry.items():
        if not is_price(price):
            continue
        target, when, name = prices, [], key
        for variant in LITELLM_VARIANTS:
            if name.endswith("_" + variant):
                name, target = name.removesuffix("_" + variant), varied[variant]
        bound = re.search(r"_above_(\d+)k_tokens$", name)
        if bound:
            name = name[: bound.start()]
            when.append(("input_above", str(int(bound[1]) * 1000)))
        for resolution in RESOLUTIONS:
            if name.endswith("_" + resolution):
                name = name.removesuffix("_" + resolution)
                when.append(("resolution", resolution))
        if name not in keys:
            continue
        meter, per = keys[name]
        price, per = whole_hours(Decimal(price)) if meter == "audio_seconds" else (Decimal(price) * per, per)
        target.put("", meter, per, price, when)
    base = prices.since.setdefault("", {})
    # Where pictures are made, what is called the input's price is the picture's.
    if entry.get("mode") == "image_generation" and is_price(entry.get("input_cost_per_image")):
        base.setdefault(("images", ()), (Decimal(entry["input_cost_per_image"]), 1))
    drop_unpriced(base)
    searches = entry.get("search_context_cost_per_query") or {}
    by_size = {size.removeprefix("search_context_size_"): price for size, price in searches.items()}
    if by_size and len(set(by_size.values())) == 1:
        prices.put("", "web_searches", 1000, Decimal(next(iter(by_size.values()))) * 1000)
    elif by_size:
        for size, price in by_size.items():
            prices.put("", "web_searches", 1000, Decimal(price) * 1000, [("search_context_size", size)])
    for variant, when in LITELLM_VARIANTS.items():
        vary(prices, base, varied[variant].since.get("", {}), when)
    tokens = [meter for meter, _ in base if meter.endswith("_tokens")]
    if "output_tokens" in tokens and "reasoning_tokens" not in tokens:
        tokens.append("reasoning_tokens")
    tokens = list(dict.fromkeys(tokens))
    special = entry.get("provider_specific_entry") or {}
    for name, when in (("us", {"geo": "us"}), ("fast", {"speed": "fast"})):
        if tokens and is_price(special.get(name)):
            prices.factors.append((Decimal(special[name]), tokens, when))
    for place in ("eu", "us"):
        uplift = entry.get(f"regional_processing_uplift_multiplier_{place}")
        if tokens and is_price(uplift):
            prices.factors.append((Decimal(uplift), tokens, {"data_residency": place}))
    uplift = entry.get("regional_endpoint_uplift_multiplier")
    if tokens and is_price(uplift):
        prices.factors.append((Decimal(uplift), tokens, {"geo": "regional"}))


def whole_hours(usd_per_second):
    """Prices by the hour or minute that were cut short when they were written by the second."""
    hour = usd_per_second * 3600
    whole = round(hour, 3)
    return (whole if abs(whole - hour) * 5000 < hour else hour), 3600


def drop_unpriced(base):
    """Zeros that stand for what the package does not know."""
    is_all_zero = all(usd == 0 for usd, _ in base.values())
    for key in [key for key, (usd, _) in base.items() if usd == 0]:
        meter, _ = key
        is_free_output = meter == "output_tokens" and not is_all_zero
        if is_all_zero or not is_free_output:
            del base[key]


# --- one model of a card --------------------------------------------------------------------------


def revisions(first, second, day):
    """A model's revisions: the first source's prices, and the second's where the first has none."""
    out = []
    sources = [source for source in (first, second) if source and any(source.since.values())]
    if not sources:
        return out
    lead = sources[0]
    other = sources[1] if len(sources) > 1 else None
    days = sorted(lead.since)
    current = {}
    for index, start in enumerate(days):
        # A dated price list replaces the one before it; prices by the hour hold in all of them.
        hours = {key: price for key, price in current.items() if any(name == "utc_hours" for name, _ in key[1])}
        current = {**(hours if index else {}), **lead.since[start]}
        is_last = index == len(days) - 1
        rates = []
        theirs = other.since.get("", {}) if other else {}
        for (meter, when), (usd, per) in current.items():
            rate = rate_of(meter, usd, per, when, lead.source, day)
            same = theirs.get((meter, when))
            if same and is_last:
                if same[0] * per == usd * same[1]:
                    rate["source"] = f"{lead.source}, {other.source}"
                else:
                    rate["note"] = f"sources disagree: {other.source} prints {text(same[0] * per / same[1])}"
            rates.append(rate)
        meters = {meter for meter, _ in current}
        for (meter, when), (usd, per) in theirs.items():
            if meter not in meters and is_last and len(days) == 1:
                rates.append(rate_of(meter, usd, per, when, other.source, day))
        rates.sort(key=lambda rate: METERS.index(rate["meter"]))
        revision = {"from": start} if start else {}
        revision["rates"] = rates
        factors = factors_of(lead, other, {rate["meter"] for rate in rates}, day)
        if factors:
            revision["factors"] = factors
        out.append(revision)
    return out


def rate_of(meter, usd, per, when, source, day):
    short = round(usd, SCALE_MAX)
    rate = {"meter": meter, "usd": text(short), "per": str(per)}
    if when:
        rate["when"] = dict(sorted(when))
    rate["source"] = source
    rate["checked"] = day
    if short != usd:
        rate["note"] = f"the source prints {text(usd)}"
    return rate


def factors_of(lead, other, meters, day):
    out = []
    said, taken = set(), set()
    for source in (lead, other):
        if source is None:
            continue
        whens = {json.dumps(when, sort_keys=True) for _, _, when in source.factors}
        for factor, names, when in source.factors:
            key = json.dumps(when, sort_keys=True)
            names = [name for name in names if name in meters or name == "reasoning_tokens"]
            names = [name for name in names if (key, name) not in taken]
            if key in said or not names:
                continue
            taken |= {(key, name) for name in names}
            out.append({
                "factor": text(factor), "meters": names, "when": dict(sorted(when.items())),
                "source": source.source, "checked": day,
            })
        said |= whens
    return out


# --- cards --------------------------------------------------------------------------------------


def refresh(vendor, card, genai, table, versions, day):
    """Adds models; returns what was added and where sources differ from the card."""
    added, differences = [], []
    genai_names_of, _, _ = VENDORS[vendor]
    first, second = {}, {}
    aliases = {}
    for provider in genai_names_of:
        for names, prices in genai_models(genai[provider], f"genai-prices {versions[0]}"):
            first[names[0]] = prices
            aliases[names[0]] = names[1:]
    for names, prices in litellm_models(table, vendor, f"litellm {versions[1]}"):
        second.setdefault(names[0], prices)
    taken = {}
    for model in card["models"]:
        for name in [model["model"], *model.get("aliases", [])]:
            taken[name] = model
    by_alias = {alias: name for name, others in aliases.items() for alias in others}
    is_litellm_first = vendor in LITELLM_FIRST
    if is_litellm_first:
        by_alias = {}
    for name in dict.fromkeys([*second, *first] if is_litellm_first else [*first, *second]):
        if len(name.encode()) > NAME_BYTES_MAX:
            continue
        if name in taken:
            known = taken[name]
            more = [alias for alias in aliases.get(name, []) if alias not in taken and alias not in first]
            if is_litellm_first:
                more = [alias for alias in more if alias not in second]
            more = [alias for alias in more if DATED.sub("", alias) not in taken]
            if more and known["model"] == name:
                add_names(known, more)
                taken.update({alias: known for alias in more})
                added += [f"{name}: also {alias}" for alias in more]
                others = [second[alias] for alias in more if alias in second]
                differences += compare(vendor, known, day, *others)
            differences += compare(vendor, taken[name], day, first.get(name), second.get(name))
            continue
        if name not in first and name in by_alias and by_alias[name] in first:
            continue
        both = (first.get(name), second.get(name))
        found = revisions(*(reversed(both) if is_litellm_first else both), day)
        if not found or not all(revision["rates"] for revision in found) or is_odd(found):
            continue
        undated = DATED.sub("", name)
        if undated != name and undated in taken and is_same(taken[undated], found):
            continue
        model = {"model": name}
        others = [alias for alias in aliases.get(name, []) if alias not in taken and alias not in first]
        if is_litellm_first:
            others = [alias for alias in others if alias not in second]
        else:
            note_others(found, [second[alias] for alias in others if alias in second])
        if others:
            model["aliases"] = others
        model["revisions"] = found
        for alias in [name, *others]:
            taken[alias] = model
        card["models"].append(model)
        added.append(name)
    card["models"].sort(key=lambda model: model["model"] == "*")
    return added, differences


def add_names(model, names):
    """Aliases stand before the prices."""
    old = dict(model)
    model.clear()
    model["model"] = old.pop("model")
    model["aliases"] = old.pop("aliases", []) + names
    model.update(old)


def is_odd(found):
    """Prices by the image that a package prints as prices of tokens, and other slips of a unit."""
    return any(rate["meter"].endswith("_tokens") and Decimal(rate["usd"]) and
               not Decimal("0.001") <= Decimal(rate["usd"]) <= 2000
               for revision in found for rate in revision["rates"])


def is_same(model, found):
    """Whether a dated name costs what the undated one does, so that it needs no model of its own."""
    ours = {key(rate): Decimal(rate["usd"]) / Decimal(rate["per"]) for rate in model["revisions"][-1]["rates"]
            if "usd" in rate}
    theirs = {key(rate): Decimal(rate["usd"]) / Decimal(rate["per"]) for rate in found[-1]["rates"]}
    return len(found) == 1 and all(ours.get(name, usd) == usd for name, usd in theirs.items())


def key(rate):
    return rate["meter"], tuple(sorted(rate.get("when", {}).items()))


def note_others(found, others):
    """Notes what the second source prints for the model under another of its names."""
    for rate in found[-1]["rates"]:
        for other in others:
            same = other.since.get("", {}).get(key(rate))
            if same and "note" not in rate and same[0] * Decimal(rate["per"]) != Decimal(rate["usd"]) * same[1]:
                shown = text(same[0] * Decimal(rate["per"]) / same[1])
                rate["note"] = f"sources disagree: {other.source} prints {shown}"


def compare(vendor, model, day, *sources):
    """What packages print other than the card's prices of the day."""
    rates = {}
    current = [revision for revision in model["revisions"] if revision.get("from", "") <= day]
    if not current:
        return
    for rate in current[-1]["rates"]:
        if "usd" in rate:
            when = tuple(sorted(rate.get("when", {}).items()))
            rates[(rate["meter"], when)] = (Decimal(rate["usd"]), Decimal(rate["per"]), rate.get("note", ""))
    for source in sources:
        if source is None or not source.since:
            continue
        known = [start for start in source.since if start <= day]
        for (meter, conditions), (usd, per) in source.since[max(known)].items() if known else ():
            ours = rates.get((meter, conditions))
            if ours and ours[0] * per != usd * ours[1] and text(usd) not in ours[2]:
                shown = text(usd * ours[1] / per)
                when = "&".join(f"{name}={value}" for name, value in conditions)
                yield f"{vendor}/{model['model']}/{meter}?{when}: {text(ours[0])}, {source.source} prints {shown}"


def pin(cards):
    """Fallback cards are named by revision; one change of a card changes those that name it."""
    for card in cards.values():
        for named in card.get("fallback_cards", []):
            named["revision"] = revision_of(cards[named["provider"]])


def version_of(path):
    return Path(path).name.split("-")[1]


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--genai-prices", metavar="WHEEL")
    asked.add_argument("--litellm", metavar="WHEEL")
    asked.add_argument("--checked", metavar="DAY", default=str(datetime.date.today()), help="the day the data were read")
    asked.add_argument("--write", action="store_true", help="write the cards")
    asked.add_argument("--pin", action="store_true", help="only set the pins anew")
    asked.add_argument("vendors", nargs="*", metavar="vendor")
    args = asked.parse_args()
    cards = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))}
    if not args.pin:
        if not (args.genai_prices and args.litellm):
            asked.error("needs both packages, or --pin")
        genai, table = read_genai(args.genai_prices), read_litellm(args.litellm)
        versions = (version_of(args.genai_prices), version_of(args.litellm))
        for vendor in args.vendors or [vendor for vendor in VENDORS if vendor in cards]:
            added, differences = refresh(vendor, cards[vendor], genai, table, versions, args.checked)
            print(f"{vendor}: {len(added)} models added, {len(differences)} prices differ")
            for name in added:
                print(f"  + {name}")
            for difference in differences:
                print(f"  ! {difference}")
    pin(cards)
    if args.write or args.pin:
        for vendor, card in cards.items():
            (HERE / f"{vendor}.json").write_text(text_of(card))


if __name__ == "__main__":
    main()
