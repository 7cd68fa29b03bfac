//! A request as an upstream is to see it: the caller's own, less what ends here, with the credential that
//! takes the place of theirs. It is written down when it is known how: as text where the connection speaks
//! HTTP/1.1, which needs no map in between, else as a request for HTTP/2.

use std::borrow::Cow;

use bytes::BytesMut;
use http::request::Parts;
use http::{Request, Uri, header};

use super::Origin;
use super::h1::{Length, write_line};
use crate::attribution::Aliases;
use crate::body::RequestBody;
use crate::headers::{self, Credentials};
use crate::http1::put_field;
use crate::provider::Credential;

/// What goes up, but for the body.
pub struct Outgoing<'a> {
    /// The caller's head.
    pub head: &'a Parts,
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
        write_line(text, &self.head.method, |text| {
            self.each_part_of_path(origin, |part| text.extend_from_slice(part.as_bytes()));
        });
        self.each_field(origin, |name, value| {
            if name != header::CONTENT_LENGTH || length == Length::Kept {
                put_field(text, name.as_str(), value.as_bytes());
            }
        });
        if let Some((place, credential)) = self.credential {
            headers::write_credential(text, place, credential);
        }
    }

    /// As a request.
    pub fn request(&self, origin: &Origin, body: RequestBody) -> Request<RequestBody> {
        let mut path = String::with_capacity(origin.path.len() + self.path.len() + 1);
        self.each_part_of_path(origin, |part| path.push_str(part));
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.head.method);
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
            &self.head.headers,
            &origin.authority,
            self.credentials,
            |name| self.aliases.contains(name),
            each,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(uri: &str, credential: Option<(Credential, &str)>) -> (String, Request<RequestBody>) {
        let request = Request::post(uri)
            .header("host", "proxy")
            .header("authorization", "Bearer vk_AAAA")
            .header("content-length", "7")
            .header("accept", "a")
            .header("accept", "b")
            .header("x-farebox-tenant", "acme")
            .body(())
            .unwrap();
        let head = request.into_parts().0;
        let origin = Origin::parse("http://up:81/base/", None).unwrap();
        let outgoing = Outgoing {
            head: &head,
            path: head.uri.path(),
            query: head.uri.query().map(Cow::Borrowed),
            credentials: Credentials::Replace,
            credential,
            aliases: &Aliases::default(),
            is_amended: false,
        };
        let mut text = BytesMut::new();
        outgoing.write(&origin, &mut text, Length::LeftOut);
        let text = String::from_utf8(text.to_vec()).unwrap();
        (text, outgoing.request(&origin, RequestBody::Empty))
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
