//! What a running socket must obey, in one place: which models its messages may name, whose
//! credentials they may carry, and, asked after everything that was counted, whether it may go on.
//!
//! [`Rules::after`] is where anything that ends a running socket for what passed through it belongs: it
//! is asked with the call as it stands (its event, its evidence, its permit) after each message of
//! either side, at each part's end and at each checkpoint, and whatever code it answers cuts the socket
//! between two frames, in the dialect's words.

use std::sync::Arc;

use farebox_pricing::id::TenantId;
use farebox_pricing::rate_card::selling::Buyer;

use super::gate::Verdict;
use super::{Heard, KeyMembers, Socket};
use crate::directory::{KeyRow, ModelRule, Tenant};
use crate::failure::Code;
use crate::framing::json::{self, text_of};
use crate::headers::Credentials;
use crate::settle::Call;

/// How virtual keys begin.
const OWN_KEY: &str = "vk_";

/// When a socket is asked whether it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A message of either side was read.
    Heard,
    /// A part was settled, the next one has begun.
    Part,
    /// What was counted so far was put down.
    Checkpoint,
}

/// The rules of one socket.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// A model that may be used was named.
    has_model: bool,
}

impl Rules {
    /// The rules of a socket that has just been opened.
    pub(super) fn new(call: &Call) -> Self {
        Self {
            has_model: call.evidence.request_text("model").is_some(),
        }
    }

    /// Whether messages of the caller are looked at before they go up.
    pub(super) fn holds_messages(socket: &Socket, call: &Call) -> bool {
        socket.key_members.is_some() || has_model_rule(socket, call)
    }

    /// What becomes of a message of the caller.
    pub(super) fn before(&mut self, socket: &Socket, call: &Call, heard: &Heard<'_>) -> Verdict {
        let rows = socket.models.map(|_| Rows::of(call));
        let rule = rows.as_ref().and_then(|rows| rows.model_rule(call));
        if let (Some(models), Some(rule)) = (socket.models, rule) {
            if heard.is_text && !heard.is_whole() {
                return Verdict::Refused(Code::RequestTooLarge);
            }
            let mut wrong = None;
            models(heard, &mut |model| {
                wrong = wrong.or(rule.refuses(model, || is_sold(call, model)));
                self.has_model = true;
            });
            if let Some(code) = wrong {
                return Verdict::Refused(code);
            }
            // Where only some may be used, the choice may not be left to the vendor.
            if !self.has_model && rule.is_listed() {
                return Verdict::Refused(Code::ModelNotAllowed);
            }
        }
        match socket.key_members {
            Some(members) => without_credentials(members, call, heard),
            None => Verdict::Goes,
        }
    }

    /// What becomes of bytes that cannot be read: where a rule leans on them, they do not pass.
    pub(super) fn unreadable(socket: &Socket, call: &Call, code: Code) -> Verdict {
        if has_model_rule(socket, call) {
            return Verdict::Refused(code);
        }
        Verdict::Goes
    }

    /// Whether the socket may go on, and if not, why. Nothing counts against a running socket yet.
    #[expect(
        clippy::unused_self,
        reason = "what limits keep of a socket stands here"
    )]
    pub(super) fn after(&mut self, _call: &Call, _moment: Moment) -> Option<Code> {
        None
    }
}

/// Key and tenant of a call, by the directory as it is now.
struct Rows {
    key: Option<Arc<KeyRow>>,
    tenant: Option<Arc<Tenant>>,
}

impl Rows {
    fn of(call: &Call) -> Self {
        let directory = &call.worker.shared.directory;
        let event = &call.event;
        let tenant = event.tenant_id.as_ref().map(TenantId::as_str);
        Self {
            key: event.key_id.and_then(|key_id| directory.key(key_id)),
            tenant: tenant.and_then(|tenant| directory.tenant(tenant)),
        }
    }

    fn model_rule(&self, call: &Call) -> Option<ModelRule<'_>> {
        let (key, tenant) = (self.key.as_deref(), self.tenant.as_deref());
        ModelRule::of(key, tenant, call.event.paid_by)
    }
}

/// Models that the socket's messages name are not all allowed.
fn has_model_rule(socket: &Socket, call: &Call) -> bool {
    socket.models.is_some() && Rows::of(call).model_rule(call).is_some()
}

/// Whether a model has a price on the cards that the socket is priced by.
fn is_sold(call: &Call, model: &str) -> bool {
    let event = &call.event;
    let buyer = Buyer {
        tenant: event.tenant_id.as_ref().map(TenantId::as_str),
        plan: event.plan.as_deref(),
        paid_by: event.paid_by,
    };
    let (cards, provider) = (&call.view.cards, call.provider.name);
    cards.sells(buyer, provider, model, event.started_at)
}

/// A message without the caller's credentials, where it holds any.
fn without_credentials(members: KeyMembers, call: &Call, heard: &Heard<'_>) -> Verdict {
    if !heard.is_json() {
        return Verdict::Goes;
    }
    let credential = match call.credentials {
        Credentials::Replace => call.credential.as_ref(),
        Credentials::KeepOwn => None,
    };
    let credential = credential.map(|chosen| chosen.secret.expose());
    match rewrite(members, call.credentials, credential, heard.data) {
        Some(message) => Verdict::Becomes(message),
        None => Verdict::Goes,
    }
}

fn rewrite(
    members: KeyMembers,
    credentials: Credentials,
    credential: Option<&str>,
    message: &[u8],
) -> Option<Vec<u8>> {
    let mut is_changed = false;
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for member in json::members(message)? {
        let is_named = |names: &[&str]| names.contains(&&*member.name);
        let (is_swapped, is_removed) = (is_named(members.swapped), is_named(members.removed));
        let is_ours = || text_of(member.value).is_some_and(|value| value.contains(OWN_KEY));
        let is_taken =
            (is_swapped || is_removed) && (credentials == Credentials::Replace || is_ours());
        if !is_taken {
            kept.push(member.text.to_vec());
            continue;
        }
        is_changed = true;
        if let (true, Some(credential)) = (is_swapped, credential) {
            let name = serde_json::Value::from(&*member.name);
            let value = serde_json::Value::from(credential);
            kept.push(format!("{name}:{value}").into_bytes());
        }
    }
    is_changed.then(|| [b"{".as_slice(), &kept.join(&b','), b"}"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: KeyMembers = KeyMembers {
        swapped: &["xi-api-key"],
        removed: &["authorization"],
    };

    #[test]
    fn a_callers_credential_becomes_ours_or_is_taken_out() {
        let check = |credentials, credential, message: &str, expected: Option<&str>| {
            let seen = rewrite(MEMBERS, credentials, credential, message.as_bytes());
            let seen = seen.map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(seen.as_deref(), expected, "{message}");
        };
        let replace = Credentials::Replace;
        let own = Credentials::KeepOwn;
        check(replace, Some("REAL"), r#"{"text":"vk_"}"#, None);
        check(
            replace,
            Some("REAL"),
            r#" { "text": " ", "xi-api-key" : "vk_A", "authorization":"Bearer x" } "#,
            Some(r#"{"text": " ","xi-api-key":"REAL"}"#),
        );
        check(
            replace,
            Some("RE\"AL"),
            r#"{"xi\u002dapi-key":"own","text":"a,}b"}"#,
            Some(r#"{"xi-api-key":"RE\"AL","text":"a,}b"}"#),
        );
        check(replace, None, r#"{"xi-api-key":1}"#, Some("{}"));
        check(own, None, r#"{"xi-api-key":"own"}"#, None);
        check(
            own,
            None,
            r#"{"xi-api-key":"vk_A","authorization":"Bearer own"}"#,
            Some(r#"{"authorization":"Bearer own"}"#),
        );
        check(
            own,
            None,
            r#"{"authorization":"Bearer \u0076k_A"}"#,
            Some("{}"),
        );
        check(replace, Some("REAL"), r#"{"xi-api-key":"#, None);
    }
}
