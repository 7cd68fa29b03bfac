//! The names that vendors, clouds and gateways give one model lead to its price, and names that only begin alike do not.

use farebox_pricing::rate_card::CardSet;

/// Provider, name, and the model whose prices hold; nothing: none may.
const NAMES: &[(&str, &str, &str)] = &[
    // Amazon: ids, profiles of a geography, whole resource names, room for more context.
    (
        "bedrock",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    (
        "bedrock",
        "us.anthropic.claude-opus-5-5-20261001-v1:0",
        "us.anthropic.claude-opus-5-5",
    ),
    (
        "bedrock",
        "us.anthropic.claude-opus-4-6-v1:0",
        "us.anthropic.claude-opus-4-6-v1",
    ),
    (
        "bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5-20261001-v1:0",
        "us.anthropic.claude-opus-5-5",
    ),
    (
        "bedrock",
        "arn:aws:bedrock:eu-central-1::foundation-model/meta.llama3-1-70b-instruct-v1:0",
        "meta.llama3-1-70b-instruct-v1:0",
    ),
    (
        "bedrock",
        "arn:aws-us-gov:bedrock:us-gov-west-1:1:inference-profile/us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ),
    (
        "bedrock",
        "us-gov.amazon.nova-pro-v1:0",
        "us-gov-east-1/amazon.nova-pro-v1:0",
    ),
    (
        "bedrock",
        "bedrock/eu.amazon.nova-lite-v1:0",
        "eu.amazon.nova-lite-v1:0",
    ),
    (
        "bedrock",
        "amazon.nova-pro-v1:0:300k",
        "amazon.nova-pro-v1:0",
    ),
    (
        "bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcd1234",
        "",
    ),
    (
        "bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcd1234",
        "",
    ),
    (
        "bedrock",
        "us-gov.anthropic.claude-3-opus-20240229-v1:0",
        "",
    ),
    ("bedrock", "anthropic.claude-sonnet-4-5x", ""),
    // Azure's spelling.
    ("azure", "gpt-35-turbo-0125", "gpt-35-turbo"),
    ("azure", "gpt-35-turbo-1106", "gpt-3.5-turbo-1106"),
    ("azure", "DeepSeek-R1", "deepseek-r1"),
    ("azure", "gpt-35-turbo-9", ""),
    // Google: versions, tuned and published paths.
    ("gemini", "gemini-2.5-pro-001", "gemini-2.5-pro"),
    ("gemini", "models/gemini-2.5-flash", "gemini-2.5-flash"),
    ("gemini", "models/gemini-2.0-flash-001", "gemini-2.0-flash"),
    (
        "gemini",
        "publishers/google/models/gemini-2.5-pro",
        "gemini-2.5-pro",
    ),
    ("gemini", "gemini-2.5-pro-0011", ""),
    ("gemini", "tunedModels/gemini-2.5-pro", ""),
    ("vertex", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
    ("vertex", "claude-sonnet-4-5@default", "claude-sonnet-4-5"),
    (
        "vertex",
        "publishers/anthropic/models/claude-opus-4-5@20251101",
        "claude-opus-4-5",
    ),
    (
        "vertex",
        "projects/p-1/locations/us-east5/publishers/anthropic/models/claude-opus-4-5@20251101",
        "claude-opus-4-5",
    ),
    (
        "vertex",
        "projects/p-1/locations/us-central1/publishers/google/models/gemini-2.5-flash",
        "gemini-2.5-flash",
    ),
    (
        "vertex",
        "publishers/meta/models/llama-3.3-70b-instruct-maas",
        "meta/llama-3.3-70b-instruct-maas",
    ),
    ("vertex", "mistral-large-2411@001", "mistral-large-2411"),
    ("vertex", "publishers/google/models/", ""),
    (
        "vertex",
        "projects/p/1/locations/us-central1/publishers/google/models/gemini-2.5-flash",
        "",
    ),
    // Fine-tuned models go by their base.
    (
        "openai",
        "ft:gpt-4o-mini-2024-07-18:acme::abc123",
        "ft:gpt-4o-mini",
    ),
    (
        "openai",
        "ft:gpt-3.5-turbo:acme::abc123",
        "ft:gpt-3.5-turbo-",
    ),
    (
        "openai",
        "ft:gpt-4.1-mini-2025-04-14:acme:name:id:ckpt-step-90",
        "ft:gpt-4.1-mini-2025-04-14",
    ),
    ("openai", "ft:gpt-99:acme::abc123", ""),
    ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
    ("openai", "openai/gpt-5-mini-2025-08-07", "gpt-5-mini"),
    ("openai", "gpt-5-mini-2", ""),
    ("openai", "gpt-5-min", ""),
    // A gateway's variants: routes to the same model, and the one that costs nothing.
    ("openrouter", "deepseek/deepseek-r1:free", ":free"),
    ("openrouter", "openai/gpt-4o:nitro", "openai/gpt-4o"),
    ("openrouter", "openai/gpt-4o:floor", "openai/gpt-4o"),
    ("openrouter", "openai/gpt-4o:unheard-of", ""),
];

#[test]
fn each_name_leads_to_its_model() {
    let cards = CardSet::built_in();
    let mut mistakes = Vec::new();
    for (provider, name, expected) in NAMES {
        let Some(card) = cards.card(provider) else {
            mistakes.push(format!("{provider}: no card"));
            continue;
        };
        let own = || card.model(name);
        let elsewhere = || {
            let mut pins = card.fallback_cards().iter();
            pins.find_map(|pin| {
                cards
                    .card_of_revision(&pin.provider, &pin.revision)?
                    .model(name)
            })
        };
        let found = own().or_else(elsewhere).unwrap_or("");
        if found != *expected {
            mistakes.push(format!("{provider} {name}: `{found}`, not `{expected}`"));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}
