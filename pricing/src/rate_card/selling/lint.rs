//! What selling rules should not do without saying why: a rule with a `note` is taken as meant.

use super::super::CardSet;
use super::file::{Rule, SellingFile};
use crate::event::{PaidBy, Rate};
use crate::money::Decimal;
use crate::time::Timestamp;
use crate::usage::{Line, Meter, Usage};

/// A fixed price beyond this many times the cost needs a reason.
const COST_TIMES_MAX: u64 = 10;
/// As of when costs are compared: the latest that the cards say.
const LATEST: i64 = 4_102_444_799_000;

/// Findings, each with the rule's name.
#[must_use]
pub fn lint_selling(file: &SellingFile, cards: &CardSet) -> Vec<(String, String)> {
    let rules = file.rules.iter().filter(|rule| rule.note.is_none());
    let mut findings = Vec::new();
    for rule in rules {
        let mut found = Vec::new();
        look_at_name(rule, cards, &mut found);
        if rule.markup.is_some_and(|markup| markup < Decimal::from(1)) {
            found.push("sells below the cost; say why in a `note`".to_owned());
        }
        for meter in &rule.meters {
            look_at_price(rule, *meter, cards, &mut found);
        }
        let named = found.into_iter().map(|found| (rule.rule.clone(), found));
        findings.extend(named);
    }
    findings
}

fn look_at_name(rule: &Rule, cards: &CardSet, found: &mut Vec<String>) {
    let (Some(provider), Some(model)) = (&rule.provider, &rule.model) else {
        return;
    };
    let own = cards.card(provider).and_then(|card| card.model(model));
    match own {
        Some(own) if own != model => {
            found.push(format!(
                "the card of {provider} calls `{model}` `{own}`; name it so"
            ));
        }
        None if !cards.knows(provider, model) && rule.markup.is_some() => {
            found.push(format!(
                "no card knows `{model}` of {provider}: a markup has no cost"
            ));
        }
        _ => {}
    }
}

fn look_at_price(rule: &Rule, meter: Meter, cards: &CardSet, found: &mut Vec<String>) {
    let (Some(provider), Some(model), Some(usd), Some(per)) =
        (&rule.provider, &rule.model, rule.usd, rule.per)
    else {
        return;
    };
    let mut usage = Usage::new();
    usage.set(meter, 1);
    let line = Line {
        model: model.clone(),
        conditions: rule.when.clone(),
        usage,
    };
    let at = Timestamp::from_millis(LATEST);
    let priced = crate::price::price(provider, &[line], cards, PaidBy::Operator, at);
    let cost = priced.charges.first().and_then(|charge| charge.cost_rate);
    let Some(Rate {
        usd: cost,
        per: cost_per,
    }) = cost
    else {
        return;
    };
    // usd ÷ per against cost ÷ cost_per, without dividing.
    let (Some(ours), Some(theirs)) = (usd.checked_mul(cost_per), cost.checked_mul(per)) else {
        return;
    };
    if ours < theirs {
        found.push(format!(
            "{meter}: is below the cost of {cost} per {cost_per}"
        ));
    }
    let most = theirs.checked_mul(Decimal::from(COST_TIMES_MAX));
    if !theirs.is_zero() && most.is_some_and(|most| ours >= most) {
        let problem = format!(
            "{meter}: is {COST_TIMES_MAX} times the cost of {cost} per {cost_per}, or more"
        );
        found.push(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::super::SellingRules;
    use super::*;

    #[test]
    fn a_slip_of_the_point_is_found_and_a_note_is_a_reason() {
        let rules = |usd: &str, note: &str| {
            let text = format!(
                r#"{{"schema":1,"kind":"price","rules":[
                    {{"rule":"sol","provider":"openai","model":"gpt-6-sol","meters":["input_tokens"],"usd":"{usd}","per":"1000000"{note}}},
                    {{"rule":"cheap","markup":"0.9"{note}}},
                    {{"rule":"nobody","provider":"openai","model":"gpt-99","markup":"2"{note}}}]}}"#
            );
            let file = SellingRules::from_json(&text).unwrap().file();
            let found = lint_selling(&file, CardSet::built_in());
            found.into_iter().map(|(rule, _)| rule).collect::<Vec<_>>()
        };
        assert_eq!(rules("2.5", ""), ["cheap", "nobody"]);
        assert_eq!(rules("25", ""), ["sol", "cheap", "nobody"]);
        assert_eq!(rules("0.25", ""), ["sol", "cheap", "nobody"]);
        assert!(rules("25", r#","note":"meant""#).is_empty());
    }
}
