"""How a rate card is written: one price a line, so that a review sees prices; and its revision."""

import hashlib
import json
import unicodedata

WIDTH = 100


def text_of(card):
    """The card as it stands in its file."""
    return _write(card, 0) + "\n"


def revision_of(card):
    """SHA-256 of the canonical form (RFC 8785), as `farebox_pricing` computes it.

    Holds for cards whose decimals are already in lowest form and whose empty members are left out,
    which is how `text_of` and `refresh.py` write them.
    """
    text = json.dumps(card, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = unicodedata.normalize("NFC", text)
    return hashlib.sha256(text.encode()).hexdigest()


def _write(value, depth):
    flat = json.dumps(value, ensure_ascii=False)
    is_price = isinstance(value, dict) and ("source" in value or "rate_of" in value or "said" in value)
    if not isinstance(value, (dict, list)) or not value or is_price:
        return flat
    is_flat_list = isinstance(value, list) and all(isinstance(item, str) and " " not in item for item in value)
    if is_flat_list:
        return flat
    if isinstance(value, dict) and depth > 3 and len(flat) <= WIDTH and "rates" not in value:
        return flat
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        members = (f"{json.dumps(name, ensure_ascii=False)}: {_write(item, depth + 1)}" for name, item in value.items())
        return "{\n" + ",\n".join(pad + member for member in members) + "\n" + end + "}"
    return "[\n" + ",\n".join(pad + _write(item, depth + 1) for item in value) + "\n" + end + "]"
