//! Who is let in: a browser that was given the token, and no other web page in it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::api::Refused;

/// What a browser may do with what it is given: load this page's own files, and nothing else; scripts make no markup of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What every answer says beside its own.
const FENCE: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What who asks must know: 128 random bits, new with each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn random() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        // So few bytes come whole (getrandom(2)).
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Whether `text` is the token; how long that takes tells nothing of where it differs.
    fn is(&self, text: &str) -> bool {
        let differing = self.0.bytes().zip(text.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        self.0.len() == text.len() && differing == 0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where the console is, and what its clients must know.
#[derive(Debug)]
pub(super) struct Door {
    /// What a `Host` may be.
    hosts: Vec<String>,
    token: Token,
}

impl Door {
    pub(super) fn new(address: SocketAddr, token: Token) -> Self {
        let port = address.port();
        let mut hosts = vec![address.to_string(), format!("localhost:{port}")];
        // Browsers leave out the port that the scheme has anyway (RFC 9110, 4.2.1).
        if port == 80 {
            hosts.extend(hosts.clone().iter().filter_map(|host| host.strip_suffix(":80").map(str::to_owned)));
        }
        Self { hosts, token }
    }

    /// Whether the request names this console, and comes from its own page if from any: a web page elsewhere can have a browser send requests here,
    /// under a name of its own (DNS rebinding) or not (forgery), and neither says both.
    fn is_named(&self, headers: &HeaderMap) -> bool {
        let is_ours = |host: &str| self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host));
        let is_our_origin = |origin: &str| origin.strip_prefix("http://").is_some_and(is_ours);
        only(headers, &header::HOST).is_ok_and(|host| host.is_some_and(is_ours))
            && only(headers, &header::ORIGIN).is_ok_and(|origin| origin.is_none_or(is_our_origin))
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let said = only(headers, &header::AUTHORIZATION).ok().flatten();
        said.and_then(|said| said.strip_prefix("Bearer ")).is_some_and(|token| self.token.is(token))
    }
}

/// The one value of a header, if there is any; two are an error, as is what is no text.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        _ => Err(()),
    }
}

/// Lets only requests through that name this console.
pub(super) async fn names_us(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if door.is_named(request.headers()) {
        return next.run(request).await;
    }
    let error = format!(
        "the request's Host or Origin is not this console's, which is at {}: a web page could have had a browser send it",
        door.hosts.join(" or ")
    );
    Refused::new(StatusCode::MISDIRECTED_REQUEST, error).into_response()
}

/// Lets only those through who know the token.
pub(super) async fn knows_token(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if door.is_known(request.headers()) {
        return next.run(request).await;
    }
    let error = "open the address that `viaduct console` printed, with its token: each start has another one";
    ([(header::WWW_AUTHENTICATE, "Bearer")], Refused::new(StatusCode::UNAUTHORIZED, error)).into_response()
}

/// Tells the browser what it may do with the answer.
pub(super) async fn fenced(mut response: Response) -> Response {
    for (name, value) in FENCE {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door::new("127.0.0.1:9180".parse().unwrap(), Token("00ff".to_owned()))
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        lines.iter().map(pair).fold(HeaderMap::new(), |mut all, (name, value): (_, HeaderValue)| {
            all.append(name, value);
            all
        })
    }

    #[test]
    fn only_requests_of_the_consoles_own_page_name_it() {
        let is_named = |lines: &[(&str, &str)]| door().is_named(&headers(lines));
        assert!(is_named(&[("host", "127.0.0.1:9180")]));
        assert!(is_named(&[("host", "LOCALHOST:9180"), ("origin", "http://localhost:9180")]));
        for strange in [
            &[][..],
            &[("host", "127.0.0.1")],
            &[("host", "127.0.0.1:9181")],
            &[("host", "evil.example:9180")],
            &[("host", "127.0.0.1:9180.evil.example")],
            &[("host", "127.0.0.1:9180"), ("host", "evil.example")],
            &[("host", "127.0.0.1:9180"), ("origin", "http://evil.example")],
            &[("host", "127.0.0.1:9180"), ("origin", "https://127.0.0.1:9180")],
            &[("host", "127.0.0.1:9180"), ("origin", "null")],
        ] {
            assert!(!is_named(strange), "{strange:?}");
        }
        let v6 = Door::new("[::1]:80".parse().unwrap(), Token(String::new()));
        for host in ["[::1]:80", "[::1]", "localhost"] {
            assert!(
                v6.is_named(&headers(&[("host", host), ("origin", &format!("http://{host}"))])),
                "{host}"
            );
        }
        assert!(!v6.is_named(&headers(&[("host", "127.0.0.1")])));
    }

    #[test]
    fn the_token_is_asked_for_whole_and_once() {
        let is_known = |lines: &[(&str, &str)]| door().is_known(&headers(lines));
        assert!(is_known(&[("authorization", "Bearer 00ff")]));
        for wrong in ["", "00ff", "Bearer ", "Bearer 00f", "Bearer 00fff", "Bearer 00fe", "Basic 00ff"] {
            assert!(!is_known(&[("authorization", wrong)]), "{wrong}");
        }
        assert!(!is_known(&[]));
        assert!(!is_known(&[("authorization", "Bearer 00ff"), ("authorization", "Bearer 00ff")]));
        let [one, other] = [Token::random().unwrap(), Token::random().unwrap()];
        assert!(one != other && one.0.len() == 32);
    }
}
