//! What a server at a URL is shown of the gateway: checked when it is given, and changed.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    access::Caller,
    domain::{
        ClientAuth, Endpoint, HttpUrl, Instance, Secret, Server, ServerAuth, ServerTls, UserAuth,
    },
    registry::{Directory, Error, Registry},
    upstream::{self, Papers},
};

/// The longest secret or name, in bytes.
const TEXT_LIMIT: usize = 8_192;
/// Scopes there may be.
const SCOPES: usize = 50;

/// What is to be different about what a server is shown.
#[derive(Debug)]
pub(crate) enum Outward {
    /// How the gateway says who it is.
    Auth(ServerAuth),
    /// What is shown in the TLS handshake.
    Tls(ServerTls),
}

impl Registry {
    /// Changes what a server is shown. Its next call is made on a new connection.
    pub(crate) async fn show(
        &self,
        caller: &Caller,
        name: &str,
        outward: Outward,
    ) -> Result<Arc<Server>, Error> {
        if name == Directory::BUILT_IN {
            return Err(Error::BuiltIn(name.to_owned()));
        }
        let known = self.known(caller, name)?;
        let server = self.rewrite(caller, &known, move |server| {
            let is_remote = |it: &&mut Instance| matches!(it.endpoint, Endpoint::Http { .. });
            let mut remote = server.instances.iter_mut().filter(is_remote).peekable();
            if remote.peek().is_none() {
                return Err(of_no_command(outward.member()));
            }
            remote.try_for_each(|instance| outward.apply(&mut instance.endpoint))
        });
        server.await
    }
}

impl Outward {
    const fn member(&self) -> &'static str {
        match self {
            Self::Auth(_) => "auth",
            Self::Tls(_) => "tls",
        }
    }

    fn apply(&self, endpoint: &mut Endpoint) -> Result<(), Error> {
        let Endpoint::Http { url, headers, auth, tls, .. } = endpoint else {
            return Err(of_no_command(self.member()));
        };
        match self {
            Self::Auth(new) => {
                check_auth(new, headers)?;
                *auth = new.clone();
            }
            Self::Tls(new) => {
                check_tls(new, url)?;
                *tls = new.clone().into();
            }
        }
        Ok(())
    }
}

/// What only a server at a URL can be shown.
pub(super) fn of_no_command(member: &'static str) -> Error {
    wrong(member, "it belongs to a url; a command is given what it needs in its environment")
}

/// Checks how the gateway is to say who it is, beside these headers.
pub(super) fn check_auth(
    auth: &ServerAuth,
    headers: &BTreeMap<String, Secret>,
) -> Result<(), Error> {
    if let Some(filled) = auth.header()
        && headers.keys().any(|name| name.eq_ignore_ascii_case(&filled))
    {
        return Err(wrong("auth", &format!("the header {filled} is among headers already")));
    }
    match auth {
        ServerAuth::None => Ok(()),
        ServerAuth::Header { name, value } => {
            let parsed = http::HeaderName::try_from(name);
            if !parsed.is_ok_and(|name| upstream::may_be_shown(&name)) {
                return Err(wrong("auth", "name is not a header you can set"));
            }
            check_value("value", value.expose())
        }
        ServerAuth::Bearer { token } => check_value("token", token.expose()),
        ServerAuth::Basic { username, password } => {
            check_text("username", username)?;
            if username.contains(':') {
                return Err(wrong("auth", "username holds a colon, which ends a user name"));
            }
            check_text("password", password.expose())
        }
        ServerAuth::ClientCredentials(auth) => check_client(auth),
        ServerAuth::TokenExchange(auth) => {
            auth.audience.iter().try_for_each(|audience| check_text("audience", audience))?;
            check_client(&auth.own())
        }
        ServerAuth::OAuth(auth) => check_user(auth),
    }
}

fn check_client(auth: &ClientAuth) -> Result<(), Error> {
    check_text("client_id", &auth.client_id)?;
    check_text("client_secret", auth.client_secret.expose())?;
    let urls = [("token_url", &auth.token_url), ("resource", &auth.resource)];
    for (member, text) in urls {
        let Some(text) = text else { continue };
        let is_url = text.len() <= HttpUrl::LIMIT && text.parse::<HttpUrl>().is_ok();
        if !is_url || text.contains('#') {
            return Err(wrong("auth", &format!("{member} is no URL of http or https")));
        }
    }
    check_scopes(&auth.scopes)
}

fn check_user(auth: &UserAuth) -> Result<(), Error> {
    if let Some(id) = &auth.client_id {
        check_text("client_id", id)?;
    }
    if let Some(secret) = &auth.client_secret {
        check_text("client_secret", secret.expose())?;
        if auth.client_id.is_none() {
            return Err(wrong("auth", "client_secret belongs to a client_id"));
        }
    }
    check_scopes(&auth.scopes)
}

/// Scopes as RFC 6749 writes them.
fn check_scopes(scopes: &[String]) -> Result<(), Error> {
    let is_one = |text: &String| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic() && c != b'"' && c != b'\\')
    };
    if scopes.len() > SCOPES || !scopes.iter().all(is_one) {
        return Err(wrong("auth", &format!("scopes are at most {SCOPES} words without spaces")));
    }
    Ok(())
}

/// Checks what is to be shown in the TLS handshake with a server at this URL.
pub(super) fn check_tls(tls: &ServerTls, url: &HttpUrl) -> Result<(), Error> {
    if tls.is_plain() {
        return Ok(());
    }
    if !url.is_tls() {
        return Err(wrong("tls", "it belongs to an https or wss url"));
    }
    Papers::read(tls).map(drop).map_err(|error| wrong("tls", &error.to_string()))
}

/// Text that fits into a header: without control characters, which [`check_text`] refuses.
fn check_value(member: &str, text: &str) -> Result<(), Error> {
    check_text(member, text)?;
    // Servers differ in how they read other letters there.
    if !text.is_ascii() {
        return Err(wrong("auth", &format!("{member} cannot be sent in a header")));
    }
    Ok(())
}

fn check_text(member: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > TEXT_LIMIT || text.chars().any(char::is_control) {
        let why = format!("{member} is empty, longer than {TEXT_LIMIT} bytes, or no plain text");
        return Err(wrong("auth", &why));
    }
    Ok(())
}

fn wrong(member: &'static str, reason: &str) -> Error {
    Error::Form { member, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refusal(auth: Value, headers: &[&str]) -> Option<String> {
        let auth: ServerAuth = serde_json::from_value(auth).expect("an auth");
        let headers = headers.iter().map(|name| ((*name).to_owned(), Secret::new("x"))).collect();
        check_auth(&auth, &headers).err().map(|error| error.to_string())
    }

    #[test]
    fn takes_what_can_be_shown() {
        for auth in [
            json!({"type": "none"}),
            json!({"type": "header", "name": "X-Key", "value": "v"}),
            json!({"type": "bearer", "token": "x".repeat(TEXT_LIMIT)}),
            json!({"type": "basic", "username": "u", "password": "p:q ä"}),
        ] {
            assert_eq!(refusal(auth, &["X-Other"]), None);
        }
    }

    #[test]
    fn names_what_cannot_and_repeats_no_secret() {
        for (said, auth) in [
            ("name is not a header", json!({"type": "header", "name": "Host", "value": "hunter2"})),
            ("value cannot", json!({"type": "header", "name": "X-Key", "value": "hunter2ä"})),
            ("token is empty", json!({"type": "bearer", "token": ""})),
            ("token is empty", json!({"type": "bearer", "token": "hunter2\r\nX: y"})),
            ("token is empty", json!({"type": "bearer", "token": "x".repeat(TEXT_LIMIT + 1)})),
            ("colon", json!({"type": "basic", "username": "a:b", "password": "hunter2"})),
        ] {
            let refused = refusal(auth, &[]).expect(said);
            assert!(refused.starts_with("auth: ") && refused.contains(said), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn one_header_has_one_meaning() {
        let refused = refusal(json!({"type": "bearer", "token": "x"}), &["AUTHORIZATION"]);
        assert!(refused.is_some_and(|said| said.contains("authorization")));
    }

    #[test]
    fn papers_belong_to_tls() {
        let tls = ServerTls { ca: Some("nonsense".to_owned()), ..ServerTls::default() };
        let refused = |url: &str| {
            let url = url.parse().expect("a URL");
            check_tls(&tls, &url).expect_err("refused").to_string()
        };

        assert_eq!(refused("http://127.0.0.1/"), "tls: it belongs to an https or wss url");
        assert_eq!(refused("https://127.0.0.1/"), "tls: ca holds no certificate in PEM");
    }
}
