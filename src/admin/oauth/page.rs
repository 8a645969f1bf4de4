//! Pages that people see on the way to consent: plain HTML without a script.
//!
//! What a client says of itself is text on them and nothing else; it is escaped where it is
//! written, by the only function that writes text.

use std::sync::LazyLock;

use axum::{body::Body, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
};

use crate::access::oauth::Wanted;

const STYLE: &str = include_str!("page.css");

/// The policy's word for the style, which stands in the page.
static STYLE_SOURCE: LazyLock<String> = LazyLock::new(|| {
    format!("'sha256-{}'", STANDARD.encode(openssl::sha::sha256(STYLE.as_bytes())))
});

/// A page for somebody who is to sign in.
pub(super) struct SignIn<'a> {
    /// To what they go on, as HTML, once that is known.
    pub(super) to: Option<&'a str>,
    /// Where they are sent in the end, once that is known.
    pub(super) redirect: Option<&'a str>,
    /// What was wrong with the last try.
    pub(super) complaint: Option<&'a str>,
    /// The name they gave then.
    pub(super) username: &'a str,
}

/// A page for somebody who is to consent, or not to.
pub(super) struct Consent<'a> {
    pub(super) wanted: &'a Wanted,
    /// Who is signed in.
    pub(super) username: &'a str,
    /// What shows that the form is ours.
    pub(super) csrf: &'a str,
}

impl SignIn<'_> {
    pub(super) fn render(&self, status: StatusCode) -> Response {
        let who = self
            .to
            .map_or_else(String::new, |to| format!("<p>to go on to <strong>{to}</strong></p>"));
        let complaint = self
            .complaint
            .map_or_else(String::new, |text| format!("<p class=\"bad\">{}</p>", escaped(text)));
        let body = format!(
            "<h1>Sign in</h1>{who}{complaint}<form method=\"post\">\
             <label>Username or email<input name=\"username\" value=\"{}\" \
             autocomplete=\"username\" required autofocus></label>\
             <label>Password<input name=\"password\" type=\"password\" \
             autocomplete=\"current-password\" required></label>\
             <label>Code of your authenticator app, if you use one\
             <input name=\"totp\" autocomplete=\"one-time-code\"></label>\
             <button name=\"decision\" value=\"sign_in\">Sign in</button></form>",
            escaped(self.username)
        );
        page(status, "Sign in", &body, self.redirect)
    }
}

impl Consent<'_> {
    pub(super) fn render(&self) -> Response {
        let Self { wanted, username, csrf } = self;
        let mut scopes = String::new();
        for scope in wanted.scopes.iter() {
            let (words, name) = (escaped(scope.words()), escaped(scope.as_str()));
            scopes.extend(["<li>", &*words, " <code>", &*name, "</code></li>"]);
        }
        let doubt = if wanted.client.is_vouched {
            format!("It is described at <code>{}</code>.", escaped(&wanted.client.id))
        } else {
            "It gave itself this name; nobody has checked it.".to_owned()
        };
        let goes_to = if wanted.is_local() {
            format!("a program on your computer, <code>{}</code>", escaped(&host(wanted)))
        } else {
            format!("<code>{}</code>", escaped(&host(wanted)))
        };
        let body = format!(
            "<h1>{} wants to act for you</h1><p>{doubt}</p>\
             <dl><dt>At</dt><dd><code>{}</code></dd><dt>It may</dt><dd><ul>{scopes}</ul></dd>\
             <dt>The answer goes to</dt><dd>{goes_to}</dd>\
             <dt>You are</dt><dd>{}</dd></dl>\
             <p>Go on only if you began this yourself.</p>\
             <form method=\"post\"><input type=\"hidden\" name=\"csrf\" value=\"{}\">\
             <button name=\"decision\" value=\"allow\">Allow</button>\
             <button name=\"decision\" value=\"deny\" class=\"other\">Deny</button>\
             <button name=\"decision\" value=\"switch\" class=\"other\">Use another account</button>\
             </form>",
            name(wanted),
            escaped(&wanted.resource.url),
            escaped(username),
            escaped(csrf),
        );
        page(StatusCode::OK, "Consent", &body, Some(&wanted.redirect))
    }
}

/// A page for somebody who is to connect an account at a server with this gateway.
pub(super) struct Connect<'a> {
    pub(super) server: &'a str,
    /// Who is signed in.
    pub(super) username: &'a str,
    /// What shows that the form is ours.
    pub(super) csrf: &'a str,
}

impl Connect<'_> {
    pub(super) fn render(&self) -> Response {
        let Self { server, username, csrf } = self;
        let body = format!(
            "<h1>Connect your account at {0}</h1>\
             <p>You sign in at {0} yourself. Then calls that you make there through this gateway \
             bear your account, and nobody else's do.</p>\
             <dl><dt>You are</dt><dd>{1}</dd></dl>\
             <p>Go on only if you began this yourself.</p>\
             <form method=\"post\"><input type=\"hidden\" name=\"csrf\" value=\"{2}\">\
             <button name=\"decision\" value=\"connect\">Go on</button>\
             <button name=\"decision\" value=\"switch\" class=\"other\">Use another account</button>\
             </form>",
            escaped(server),
            escaped(username),
            escaped(csrf),
        );
        page(StatusCode::OK, "Connect", &body, None)
    }
}

/// A page that sends somebody on by itself, and shows them where: a form could lead only to where
/// its page knew it would.
pub(super) fn send_on(to: &str, heading: &str) -> Response {
    let (to, heading) = (escaped(to), escaped(heading));
    let body = format!(
        "<meta http-equiv=\"refresh\" content=\"0; url={to}\">\
         <h1>{heading}</h1><p><a href=\"{to}\">Go on</a>, if that does not happen by itself.</p>"
    );
    page(StatusCode::OK, "Go on", &body, None)
}

/// A page that says that something is done.
pub(super) fn done(heading: &str, words: &str) -> Response {
    let body = format!("<h1>{}</h1><p>{}</p>", escaped(heading), escaped(words));
    page(StatusCode::OK, "Done", &body, None)
}

/// A page that says why somebody cannot go on. Nobody is sent anywhere from there.
pub(super) fn refusal(status: StatusCode, words: &str) -> Response {
    let body = format!(
        "<h1>This does not work</h1><p class=\"bad\">{}</p>\
         <p>The program that sent you here asked in a wrong way. Go back to it and try again.</p>",
        escaped(words)
    );
    page(status, "Refused", &body, None)
}

/// What a client calls itself, on a page.
pub(super) fn name(wanted: &Wanted) -> String {
    let name = &wanted.client.name;
    if name.is_empty() { "A program without a name".to_owned() } else { escaped(name) }
}

/// Where the answer goes, as far as people can judge it: host and port, or the scheme of a program.
fn host(wanted: &Wanted) -> String {
    match url::Url::parse(&wanted.redirect) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => source(&url).unwrap_or_default(),
        Ok(url) => format!("{}:", url.scheme()),
        Err(_) => String::new(),
    }
}

/// A URL's origin; its scheme, where programs are reached by it.
fn source(url: &url::Url) -> Option<String> {
    if !["http", "https"].contains(&url.scheme()) {
        return Some(format!("{}:", url.scheme()));
    }
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{}://{}{port}", url.scheme(), url.host_str()?))
}

fn page(status: StatusCode, title: &str, body: &str, redirect: Option<&str>) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} – Tollhouse</title><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>"
    );
    // Browsers hold a form to it also where its answer sends them on.
    let target = redirect.and_then(|it| source(&url::Url::parse(it).ok()?)).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src {}; form-action 'self' {target}; base-uri 'none'; \
         frame-ancestors 'none'",
        *STYLE_SOURCE
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    // Without a referrer the browser would not tell the form's origin either.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    let policy = HeaderValue::from_str(&policy)
        .unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// Text as it stands in HTML, between tags or in a quoted attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escaped(r#"<script>alert("1")</script>'&"#),
            "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;"
        );
    }

    #[test]
    fn a_form_may_lead_to_the_clients_origin_and_nowhere_else() {
        let told = |redirect: &str| {
            let response = page(StatusCode::OK, "x", "", Some(redirect));
            let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().expect("text");
            policy.split("; ").find(|it| it.starts_with("form-action")).map(str::to_owned)
        };

        for (redirect, source) in [
            ("http://127.0.0.1:5/cb?x=;y", "http://127.0.0.1:5"),
            ("https://app.test/cb", "https://app.test"),
            ("cursor://x/y", "cursor:"),
        ] {
            let expected = Some(format!("form-action 'self' {source}"));
            assert_eq!(told(redirect), expected, "{redirect}");
        }
    }
}
