//! A request as an upstream is to see it: the caller's own, less what ends here, with the credential that
//! takes the place of theirs. It is written down when it is known how: as text where the connection speaks
//! HTTP/1.1, which needs no map in between, else as a request for HTTP/2.

use std::borrow::Cow;

use bytes::BytesMut;
use http::{Request, Uri, header};

use super::Origin;
use super::h1::{Length, write_line};
use crate::attribution::Aliases;
use crate::body::RequestBody;
use crate::headers::{self, Credentials};
use crate::http1::put_field;
use crate::provider::Credential;
use crate::request::CallerHead;

/// What goes up, but for the body.
pub struct Outgoing<'a> {
    /// The caller's head.
    pub head: &'a CallerHead,
    /// The path behind the upstream's own.
    pub path: &'a str,
    /// The query; never empty.
    pub query: Option<Cow<'a, str>>,
    /// What happens to the caller's credentials.
    pub credentials: Credentials,
    /// What goes in for them.
    pub credential: Option<(Credential, &'a str)>,
    /// Headers of ours by other names.
    pub aliases: &'a Aliases,
    /// The body is not the caller's own, so its length is not either.
    pub is_amended: bool,
}

impl Outgoing<'_> {
    /// Writes line and fields as HTTP/1.1 has them.
    pub(super) fn write(&self, origin: &Origin, text: &mut BytesMut, length: Length) {
        write_line(text, &self.head.parts().method, |text| {
            self.each_part_of_path(origin, |part| text.extend_from_slice(part.as_bytes()));
        });
        let kept = match length {
            Length::LeftOut => self.kept_fields(origin),
            Length::Kept => None,
        };
        match kept {
            Some(fields) => text.extend_from_slice(fields),
            None => self.write_fields(origin, text, length),
        }
        if let Some((place, credential)) = self.credential {
            headers::write_credential(text, place, credential);
        }
    }

    fn kept_fields(&self, origin: &Origin) -> Option<&[u8]> {
        self.head
            .fields_for(&origin.authority, self.credentials, || {
                let mut text = BytesMut::new();
                self.write_fields(origin, &mut text, Length::LeftOut);
                text.as_ref().into()
            })
    }

    fn write_fields(&self, origin: &Origin, text: &mut BytesMut, length: Length) {
        self.each_field(origin, |name, value| {
            if name != header::CONTENT_LENGTH || length == Length::Kept {
                put_field(text, name.as_ref(), value.as_bytes());
            }
        });
    }

    /// As a request.
    pub fn request(&self, origin: &Origin, body: RequestBody) -> Request<RequestBody> {
        let mut path = String::with_capacity(origin.path.len() + self.path.len() + 1);
        self.each_part_of_path(origin, |part| path.push_str(part));
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.head.parts().method);
        // It was a path and query of a valid URI, less some whole parameters.
        *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
        let headers = request.headers_mut();
        self.each_field(origin, |name, value| {
            headers.append(name.clone(), value.clone());
        });
        if let Some((place, credential)) = self.credential {
            headers::insert_credential(headers, place, credential);
        }
        if self.is_amended {
            headers.remove(header::CONTENT_LENGTH);
        }
        request
    }

    fn each_part_of_path(&self, origin: &Origin, mut each: impl FnMut(&str)) {
        each(&origin.path);
        each(self.path);
        if let Some(query) = &self.query {
            each("?");
            each(query);
        }
    }

    fn each_field(&self, origin: &Origin, each: impl FnMut(&http::HeaderName, &http::HeaderValue)) {
        headers::for_upstream(
            &self.head.parts().headers,
            &origin.authority,
            self.credentials,
            |name| self.aliases.contains(name),
            each,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::route::Upstreams;
    use crate::upstream::tests::upstream;

    fn head(uri: &str) -> CallerHead {
        let request = Request::post(uri)
            .header("host", "proxy")
            .header("authorization", "Bearer vk_AAAA")
            .header("x-api-key", "sk-own")
            .header("content-length", "7")
            .header("accept", "a")
            .header("accept", "b")
            .header("x-farebox-tenant", "acme")
            .body(())
            .unwrap();
        CallerHead::new(request.into_parts().0)
    }

    fn outgoing<'a>(
        head: &'a CallerHead,
        credentials: Credentials,
        credential: Option<(Credential, &'a str)>,
        aliases: &'a Aliases,
    ) -> Outgoing<'a> {
        Outgoing {
            head,
            path: head.parts().uri.path(),
            query: head.parts().uri.query().map(Cow::Borrowed),
            credentials,
            credential,
            aliases,
            is_amended: false,
        }
    }

    fn text_of(outgoing: &Outgoing<'_>, origin: &Origin, length: Length) -> String {
        let mut text = BytesMut::new();
        outgoing.write(origin, &mut text, length);
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn seen(uri: &str, credential: Option<(Credential, &str)>) -> (String, Request<RequestBody>) {
        let (head, aliases) = (head(uri), Aliases::default());
        let origin = Origin::parse("http://up:81/base/", None).unwrap();
        let outgoing = outgoing(&head, Credentials::Replace, credential, &aliases);
        let text = text_of(&outgoing, &origin, Length::LeftOut);
        (text, outgoing.request(&origin, RequestBody::Empty))
    }

    #[test]
    fn fields_that_are_kept_are_those_that_are_written() {
        let aliases = Aliases::default();
        let upstreams = Upstreams::from_iter([("openai".to_owned(), upstream("openai"))]);
        let uri = "/openai/v1/chat/completions";
        let credential = Some((Credential::Bearer, "sk-1"));
        let mut head_kept = Arc::new(head(uri));
        let _held = Arc::clone(&head_kept);
        head_kept.keep(&upstreams, &aliases);
        for (at, credentials, length, bytes) in [
            ("http://up:81", Credentials::Replace, Length::LeftOut, 7),
            ("http://up:81", Credentials::Replace, Length::LeftOut, 7),
            ("http://up:82", Credentials::Replace, Length::LeftOut, 7),
            ("http://up:81", Credentials::KeepOwn, Length::LeftOut, 8),
            ("http://up:81", Credentials::Replace, Length::Kept, 9),
            ("http://up:81", Credentials::Replace, Length::LeftOut, 9),
        ] {
            let origin = Origin::parse(at, None).unwrap();
            let mut fresh = head(uri);
            fresh.say_length(bytes);
            Arc::make_mut(&mut head_kept).say_length(bytes);
            let [kept, fresh] = [&*head_kept, &fresh].map(|head| {
                let outgoing = outgoing(head, credentials, credential, &aliases);
                text_of(&outgoing, &origin, length)
            });
            assert_eq!(kept, fresh);
            assert_eq!(kept.contains("sk-own"), credentials == Credentials::KeepOwn);
        }
    }

    #[test]
    fn text_and_request_say_the_same() {
        for credential in [
            None,
            Some((Credential::Bearer, "sk-1")),
            Some((Credential::Token, "t")),
            Some((Credential::Header("x-api-key"), "k")),
            // No value of a header: left out.
            Some((Credential::Bearer, "a\nb")),
        ] {
            let (text, request) = seen("/v1/x?y=%20&z", credential);
            let mut lines = text.split("\r\n");
            assert_eq!(lines.next(), Some("POST /base/v1/x?y=%20&z HTTP/1.1"));
            let mut fields: Vec<String> = lines
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect();
            fields.sort_unstable();
            let mut expected: Vec<String> = request
                .headers()
                .iter()
                .filter(|(name, _)| *name != header::CONTENT_LENGTH)
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            expected.sort_unstable();
            assert_eq!(fields, expected, "{credential:?}");
            assert_eq!(request.uri(), "/base/v1/x?y=%20&z");
            assert_eq!(request.headers()["content-length"], "7");
        }
    }
}
