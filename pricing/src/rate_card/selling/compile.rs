//! From rules as written to rules that can be asked, and what is wrong with them.

use std::collections::{HashMap, HashSet};

use super::super::by_name::{ByName, FewByName};
use super::super::check::{Problems, check_price, check_steps};
use super::super::condition::{When, Words};
use super::super::{CARD_SCHEMA, InvalidCard, Steps, bit, canonical};
use super::file::{Allowance, Rule, SellingFile};
use super::{CompiledRule, KIND, RULES_MAX, Rank, Scope, SellingPrice, SellingRules};
use crate::event::PaidBy;
use crate::id;
use crate::money::{Decimal, Usd};
use crate::usage::Meter;

/// Digits behind the point of a markup: with those of a rate they fit a decimal.
const MARKUP_SCALE_MAX: u8 = 6;
const PLACE: &str = "selling rules";

/// Rules that could meet in one charge with neither before the other.
type Scoped<'a> = (
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
);

pub(super) fn compile(file: &SellingFile) -> Result<SellingRules, InvalidCard> {
    let mut problems = Problems::default();
    if file.schema != CARD_SCHEMA {
        let problem = format!("schema {} is not {CARD_SCHEMA}", file.schema);
        problems.add(PLACE, problem);
    }
    if file.kind != KIND {
        problems.add(PLACE, format!("kind `{}` is not `{KIND}`", file.kind));
    }
    if file.rules.len() > RULES_MAX {
        return Err(InvalidCard(vec![format!(
            "{PLACE}: more than {RULES_MAX} rules"
        )]));
    }
    let said = file.rules.iter().flat_map(|rule| &rule.when);
    let said = said.map(|(name, value)| (name.as_str(), value.as_str()));
    let Some(words) = Words::of(said, &[]) else {
        return Err(InvalidCard(vec![format!(
            "{PLACE}: too many different conditions"
        )]));
    };
    check_names(file, &mut problems);
    let mut rules: Box<[CompiledRule]> = file
        .rules
        .iter()
        .map(|rule| compiled(rule, &words, &mut problems))
        .collect();
    number_ranks(&mut rules);
    check_ties(file, &rules, &words, &mut problems);
    for allowance in &file.allowances {
        check_allowance(allowance, &mut problems);
    }
    if !problems.found.is_empty() {
        return Err(InvalidCard(problems.found));
    }
    let canonical =
        canonical::of(file).map_err(|why| InvalidCard(vec![format!("{PLACE}: {why}")]))?;
    let mut selling = SellingRules {
        revision: canonical::revision(&canonical).into(),
        canonical: canonical.into(),
        rules,
        allowances: file.allowances.clone(),
        by_tenant: ByName::default(),
        by_plan: FewByName::default(),
        everybody: Scope::default(),
    };
    for (place, rule) in (0..).zip(&file.rules) {
        let scope = match (&rule.tenant, &rule.plan) {
            (Some(tenant), _) => selling.by_tenant.entry(tenant.as_str().into()).or_default(),
            (None, Some(plan)) => selling.by_plan.at(plan),
            (None, None) => &mut selling.everybody,
        };
        let list = match (&rule.model, &rule.provider) {
            (Some(model), _) => scope.by_model.at(model),
            (None, Some(provider)) => scope.by_provider.at(provider),
            (None, None) => &mut scope.any,
        };
        list.push(place);
    }
    Ok(selling)
}

/// Numbers the ranks, so that of two rules the greater one is told by a number.
fn number_ranks(rules: &mut [CompiledRule]) {
    let mut ranks: Vec<Rank> = rules.iter().map(|rule| rule.rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    for rule in rules {
        let below = ranks.partition_point(|rank| *rank < rule.rank);
        rule.order = u32::try_from(below).expect("a file has at most RULES_MAX rules");
    }
}

fn check_names(file: &SellingFile, problems: &mut Problems) {
    let mut seen = HashSet::new();
    let names = file.rules.iter().map(|rule| &rule.rule);
    for name in names.chain(file.allowances.iter().map(|allowance| &allowance.allowance)) {
        if let Err(why) = id::check(name) {
            problems.add(PLACE, format!("name `{name}`: {why}"));
        }
        if !seen.insert(name) {
            problems.add(PLACE, format!("name `{name}`: given twice"));
        }
    }
}

fn compiled(rule: &Rule, words: &Words, problems: &mut Problems) -> CompiledRule {
    let place = format!("{PLACE}: {}", rule.rule);
    check_scope(
        rule.tenant.as_ref(),
        [&rule.plan, &rule.model, &rule.provider],
        &place,
        problems,
    );
    check_span(
        rule.from
            .is_some_and(|from| rule.to.is_some_and(|to| to <= from)),
        &place,
        problems,
    );
    let steps = Steps::said(rule.round_up_to, rule.minimum);
    check_steps(rule.round_up_to, rule.minimum, &place, problems);
    let price = match (rule.markup, rule.usd, rule.per) {
        (Some(markup), None, None) => {
            if steps.is_some() {
                problems.add(&place, "steps and minimums are of fixed prices");
            }
            if markup.is_negative() {
                problems.add(&place, "markup is negative");
            }
            if markup.scale() > MARKUP_SCALE_MAX {
                let problem = format!("markup has more than {MARKUP_SCALE_MAX} decimals");
                problems.add(&place, problem);
            }
            SellingPrice::Markup(markup)
        }
        (None, Some(usd), Some(per)) => {
            check_price(usd, per, &place, problems);
            if rule.meters.is_empty() {
                problems.add(&place, "a fixed price needs `meters`");
            }
            SellingPrice::Fixed { usd, per, steps }
        }
        _ => {
            problems.add(&place, "needs either `markup`, or `usd` and `per`");
            SellingPrice::Markup(Decimal::ZERO)
        }
    };
    let when = When::parse(&rule.when, words).unwrap_or_else(|problem| {
        problems.add(&place, problem);
        When::default()
    });
    let bits = [
        rule.tenant.is_some(),
        rule.plan.is_some(),
        rule.model.is_some(),
        rule.provider.is_some(),
        !rule.meters.is_empty(),
    ];
    let named = when.named().iter().map(|word| words.text(*word));
    CompiledRule {
        name: rule.rule.as_str().into(),
        plan: rule.plan.as_deref().map(Into::into),
        provider: rule.provider.as_deref().map(Into::into),
        meters: meters_of(&rule.meters),
        paid_by: payers_of(&rule.paid_by),
        from: rule.from.map(|since| since.0),
        to: rule.to.map(|since| since.0),
        named: named
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        rank: Rank {
            scope: bits.iter().fold(0, |rank, bit| rank << 1 | u8::from(*bit)),
            conditions: when.specificity(),
            bound: when.threshold(),
            from: rule.from.map(|since| since.0),
        },
        order: 0,
        is_plain: rule.from.is_none() && rule.to.is_none() && rule.when.is_empty(),
        when,
        price,
    }
}

fn meters_of(meters: &[Meter]) -> u64 {
    match meters {
        [] => u64::MAX,
        meters => meters.iter().fold(0, |bits, meter| bits | bit(*meter)),
    }
}

pub(super) fn payer(paid_by: PaidBy) -> u8 {
    1 << paid_by as u8
}

fn payers_of(paid_by: &[PaidBy]) -> u8 {
    match paid_by {
        [] => payer(PaidBy::Operator),
        several => several.iter().fold(0, |bits, one| bits | payer(*one)),
    }
}

fn check_scope(
    tenant: Option<&String>,
    texts: [&Option<String>; 3],
    place: &str,
    problems: &mut Problems,
) {
    if let Some(tenant) = tenant
        && let Err(why) = id::check(tenant)
    {
        problems.add(place, format!("tenant `{tenant}`: {why}"));
    }
    if texts.into_iter().flatten().any(String::is_empty) {
        problems.add(place, "plan, model and provider are not empty");
    }
}

fn check_span(is_backwards: bool, place: &str, problems: &mut Problems) {
    if is_backwards {
        problems.add(place, "`to` does not lie behind `from`");
    }
}

/// Rules of one scope, one start, and conditions that can both hold.
fn check_ties(file: &SellingFile, rules: &[CompiledRule], words: &Words, problems: &mut Problems) {
    let mut by_scope: HashMap<Scoped<'_>, Vec<usize>> = HashMap::new();
    for (place, rule) in file.rules.iter().enumerate() {
        let scope = (
            rule.tenant.as_deref(),
            rule.plan.as_deref(),
            rule.model.as_deref(),
            rule.provider.as_deref(),
        );
        let others = by_scope.entry(scope).or_default();
        let ties = others
            .iter()
            .find(|other| is_tie(&rules[**other], &rules[place], words));
        if let Some(other) = ties {
            let problem = format!(
                "holds where `{}` holds, and neither comes first",
                rules[*other].name
            );
            problems.add(&format!("{PLACE}: {}", rule.rule), problem);
        }
        others.push(place);
    }
}

fn is_tie(left: &CompiledRule, right: &CompiledRule, words: &Words) -> bool {
    left.rank.scope == right.rank.scope
        && left.from == right.from
        && left.meters & right.meters != 0
        && left.paid_by & right.paid_by != 0
        && left.when.clashes_with(&right.when, words)
}

fn check_allowance(allowance: &Allowance, problems: &mut Problems) {
    let place = format!("{PLACE}: allowance {}", allowance.allowance);
    let texts = [&allowance.plan, &allowance.model, &allowance.provider];
    check_scope(allowance.tenant.as_ref(), texts, &place, problems);
    let is_backwards = allowance
        .from
        .is_some_and(|from| allowance.to.is_some_and(|to| to <= from));
    check_span(is_backwards, &place, problems);
    let amount = match (allowance.usd, allowance.quantity) {
        (Some(usd), None) => {
            if usd.scale() > Usd::SCALE {
                problems.add(&place, "usd has more than twelve decimals");
            }
            usd
        }
        (None, Some(quantity)) => {
            if allowance.meters.is_empty() {
                problems.add(&place, "a quantity needs `meters`");
            }
            quantity
        }
        _ => {
            problems.add(&place, "needs either `usd` or `quantity`");
            return;
        }
    };
    if amount.is_negative() || amount.is_zero() {
        problems.add(&place, "includes nothing");
    }
}
