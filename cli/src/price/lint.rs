//! `farebox price lint`: mistakes of form, and prices that stand in no proper relation to others.

use farebox_pricing::rate_card::lint::lint;
use farebox_pricing::rate_card::selling::{SellingRules, lint_selling};
use farebox_pricing::rate_card::{CardSet, RateCard};
use serde_json::{Value, json};

use super::{Held, LintArgs, files, read};
use crate::failure::{Failure, Outcome};
use crate::say::say;

/// What was found, as people and programs read it.
#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    items: Vec<Value>,
    cards: usize,
}

pub(super) fn run(args: &LintArgs) -> Outcome {
    let built_in = CardSet::built_in();
    let mut findings = Findings::default();
    if args.paths.is_empty() {
        for card in built_in.active() {
            findings.look_at("built in", card, None);
        }
    }
    for path in files(&args.paths)? {
        let shown = path.display().to_string();
        match read(&path)? {
            Ok(Held::Selling(rules)) => findings.look_at_rules(&shown, &rules),
            Ok(Held::Card(card)) => {
                let before = built_in.card(card.provider());
                findings.look_at(&shown, &card, before);
            }
            Err(mistakes) => findings.refuse(&shown, mistakes),
        }
    }
    findings.tell(args.json)
}

impl Findings {
    fn look_at(&mut self, file: &str, card: &RateCard, before: Option<&RateCard>) {
        self.cards += 1;
        let before = before.map(RateCard::file);
        for finding in lint(&card.file(), before.as_ref()) {
            self.lines.push(format!("{file}: {finding}"));
            self.items.push(json!({
                "file": file, "provider": finding.provider, "model": finding.model,
                "from": finding.from, "of": finding.of, "message": finding.message,
            }));
        }
    }

    fn look_at_rules(&mut self, file: &str, rules: &SellingRules) {
        self.cards += 1;
        for (rule, message) in lint_selling(&rules.file(), CardSet::built_in()) {
            self.lines.push(format!("{file}: {rule}: {message}"));
            self.items
                .push(json!({ "file": file, "rule": rule, "message": message }));
        }
    }

    fn refuse(&mut self, file: &str, mistakes: Vec<String>) {
        self.cards += 1;
        for mistake in mistakes {
            self.items.push(json!({ "file": file, "message": mistake }));
            self.lines.push(mistake);
        }
    }

    fn tell(self, is_json: bool) -> Outcome {
        let count = self.items.len();
        if is_json {
            say(&json!({ "cards": self.cards, "findings": self.items }).to_string());
        } else if count == 0 {
            say(&format!("{} cards: nothing found", self.cards));
        } else {
            say(&self.lines.join("\n"));
        }
        match count {
            0 => Ok(()),
            1 => Err(Failure::No("there is one finding".to_owned())),
            count => Err(Failure::No(format!("there are {count} findings"))),
        }
    }
}
