//! A caller's head, and what it says by itself: where the call goes, what it is called, whose key it shows.
//!
//! That follows from the head's bytes and from configuration that never changes, so it is kept beside a head
//! that may come again. What the directory says of it is asked for each call, and so is the caller's address.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use http::header::{self, HeaderValue};
use http::request::Parts;

use crate::attribution::{self, Aliases, Labels};
use crate::headers::{self, Credentials};
use crate::identity::{self, Shown};
use crate::provider::Endpoint;
use crate::route::{self, Route, Upstreams};
use crate::socket::Handshake;
use crate::upstream::Upstream;

/// A request's head; the requests of a connection that say the same share it.
#[derive(Clone)]
pub struct CallerHead {
    parts: Parts,
    /// Empty until it was looked for; `None` inside, where nothing is kept.
    said: OnceLock<Option<Box<Said>>>,
    fields: OnceLock<Box<Fields>>,
}

/// A head's fields as an upstream last saw them.
#[derive(Clone)]
struct Fields {
    authority: HeaderValue,
    credentials: Credentials,
    text: Box<[u8]>,
}

impl CallerHead {
    /// As it was parsed.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            said: OnceLock::new(),
            fields: OnceLock::new(),
        }
    }

    /// The head.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Gives the body another length. Nothing that is kept depends on it.
    pub fn say_length(&mut self, length: u64) {
        let value = HeaderValue::from(length);
        self.parts.headers.insert(header::CONTENT_LENGTH, value);
    }

    /// The fields that go to an upstream, without a length and without our credential, as `write` made them
    /// before; `None` where they are not kept. They follow from the head, its aliases of ours and these two.
    pub fn fields_for(
        &self,
        authority: &HeaderValue,
        credentials: Credentials,
        write: impl FnOnce() -> Box<[u8]>,
    ) -> Option<&[u8]> {
        self.said()?;
        let fields = self.fields.get_or_init(|| {
            Box::new(Fields {
                authority: authority.clone(),
                credentials,
                text: write(),
            })
        });
        let is_same = fields.credentials == credentials && fields.authority == *authority;
        is_same.then_some(&fields.text)
    }

    /// What it said before.
    pub(super) fn said(&self) -> Option<&Said> {
        self.said.get()?.as_deref()
    }

    /// Keeps what it says, where somebody holds the head for another request.
    pub(crate) fn keep(self: &Arc<Self>, upstreams: &Upstreams, aliases: &Aliases) {
        if Arc::strong_count(self) > 1 {
            self.said
                .get_or_init(|| Said::of(&self.parts, upstreams, aliases).map(Box::new));
        }
    }
}

/// What a head says.
#[derive(Clone)]
pub(super) struct Said {
    upstream: Arc<Upstream>,
    path: Box<str>,
    query: Option<Box<str>>,
    endpoint: Option<&'static Endpoint>,
    labels: Labels,
    key: Option<Shown>,
}

impl Said {
    /// `None` where something is wrong with it, or it asks for a WebSocket, which it does once.
    fn of(head: &Parts, upstreams: &Upstreams, aliases: &Aliases) -> Option<Self> {
        // The length alone may differ from one request to the next.
        if headers::names_several_hosts(&head.headers) || aliases.contains(&header::CONTENT_LENGTH)
        {
            return None;
        }
        let route = route::find(upstreams, &head.uri).ok()?;
        let endpoint = route.upstream.provider.endpoint(&head.method, route.path);
        if Handshake::find(head, endpoint).ok()?.is_some() {
            return None;
        }
        let labels = attribution::read(&head.headers, &route, aliases).ok()?;
        let presented = identity::find_presented(&head.headers, head.uri.query());
        Some(Self {
            upstream: Arc::clone(route.upstream),
            path: route.path.into(),
            query: route.query.as_deref().map(Box::from),
            endpoint,
            labels,
            key: presented.and_then(|presented| Shown::of(&presented)),
        })
    }

    /// Where the call goes. What the URI says of the caller is in the labels.
    pub(super) fn route(&self) -> Route<'_> {
        Route {
            upstream: &self.upstream,
            path: &self.path,
            query: self.query.as_deref().map(Cow::Borrowed),
            path_tenant: None,
            path_session: None,
            query_tenant: None,
            query_session: None,
        }
    }

    pub(super) fn endpoint(&self) -> Option<&'static Endpoint> {
        self.endpoint
    }

    pub(super) fn labels(&self) -> Labels {
        self.labels.clone()
    }

    /// The key it shows, where it has the shape of one.
    pub(super) fn key(&self) -> Option<&Shown> {
        self.key.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::tests::upstream;

    const KEY: &str = "vk_AAAAABBBBBCCCCCDDDDDEEEEEFFFFFGG";

    fn upstreams() -> Upstreams {
        ["openai", "anthropic"]
            .map(|name| (name.to_owned(), upstream(name)))
            .into_iter()
            .collect()
    }

    fn aliases(names: &[&str]) -> Aliases {
        let names = names
            .iter()
            .map(|name| ((*name).to_owned(), "x-farebox-customer".to_owned()));
        Aliases::new(&BTreeMap::from_iter(names)).unwrap()
    }

    fn head(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let request = fields.iter().fold(
            Request::builder().method(method).uri(uri),
            |request, (name, value)| request.header(*name, *value),
        );
        request.body(()).unwrap().into_parts().0
    }

    fn check(head: &Parts, aliases: &Aliases) {
        let upstreams = upstreams();
        let said = Said::of(head, &upstreams, aliases);
        let route = route::find(&upstreams, &head.uri);
        let Some(said) = said else {
            let is_plain = route.is_ok_and(|route| {
                attribution::read(&head.headers, &route, aliases).is_ok()
                    && matches!(Handshake::find(head, None), Ok(None))
            });
            assert!(!is_plain || headers::names_several_hosts(&head.headers));
            return;
        };
        assert!(!headers::names_several_hosts(&head.headers));
        let (route, again) = (route.ok().unwrap(), said.route());
        assert!(Arc::ptr_eq(route.upstream, again.upstream));
        assert_eq!((route.path, &route.query), (again.path, &again.query));
        let endpoint = route.upstream.provider.endpoint(&head.method, route.path);
        assert_eq!(
            endpoint.map(std::ptr::from_ref),
            said.endpoint().map(std::ptr::from_ref)
        );
        assert!(Handshake::find(head, endpoint).is_ok_and(|found| found.is_none()));
        let labels = attribution::read(&head.headers, &route, aliases);
        assert_eq!(
            format!("{:?}", labels.ok().unwrap()),
            format!("{:?}", said.labels())
        );
        let presented = identity::find_presented(&head.headers, head.uri.query());
        assert!(said.key() == presented.and_then(|key| Shown::of(&key)).as_ref());
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_is_read(
            method in prop::sample::select(vec!["GET", "POST"]),
            prefix in prop::sample::select(vec!["", "/t/acme", "/t/a%20b", "/s/s1", "/t/acme/s/s%2F1", "/t/%ff"]),
            path in prop::sample::select(vec![
                "/openai", "/openai/v1/chat/completions", "/anthropic/v1/messages", "/nobody/v1", "/openai//x",
            ]),
            query in prop::sample::select(vec![
                "", "?", "?a=1&b=%20", "?farebox-tenant=t&x", "?key=vk_A", "?key=AIza&farebox-session=s%20",
                "?farebox-key=vk_AAAAABBBBBCCCCCDDDDDEEEEEFFFFFGG",
            ]),
            fields in prop::collection::vec(prop::sample::select(vec![
                ("host", "one"), ("content-length", "7"), ("x-farebox-tenant", "acme"), ("x-farebox-tenant", ""),
                ("x-farebox-customer", "c%20d"), ("x-team", "t"), ("x-farebox-metadata", "{\"a\":1}"),
                ("x-farebox-metadata", "no"), ("authorization", "Bearer vk_AAAAABBBBBCCCCCDDDDDEEEEEFFFFFGG"),
                ("x-api-key", "vk_short"), ("x-api-key", "sk-own"), ("upgrade", "websocket"),
                ("connection", "upgrade"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                ("x-stainless-retry-count", "1"), ("x-farebox-synthetic", "1"), ("accept", "*/*"),
            ]), 0..8),
            alias in prop::sample::select(vec![vec![], vec!["x-team"]]),
        ) {
            check(&head(method, &format!("{prefix}{path}{query}"), &fields), &aliases(&alias));
        }
    }

    #[test]
    fn a_length_that_means_a_label_keeps_nothing() {
        let fields = [("content-length", "7"), ("x-api-key", KEY)];
        let head = head("POST", "/openai/v1/chat/completions", &fields);
        let kept = Said::of(&head, &upstreams(), &aliases(&[])).unwrap();
        assert!(kept.key().is_some());
        assert!(Said::of(&head, &upstreams(), &aliases(&["content-length"])).is_none());
    }

    #[test]
    fn only_a_head_that_is_held_is_kept() {
        let parts = head("POST", "/openai/v1/chat/completions", &[("x-api-key", KEY)]);
        let head = Arc::new(CallerHead::new(parts));
        head.keep(&upstreams(), &aliases(&[]));
        assert!(head.said().is_none());
        let mut held = Arc::clone(&head);
        head.keep(&upstreams(), &aliases(&[]));
        assert!(head.said().is_some());
        drop(head);
        Arc::make_mut(&mut held).say_length(12);
        assert_eq!(held.parts().headers["content-length"], "12");
        assert!(held.said().is_some());
    }
}
