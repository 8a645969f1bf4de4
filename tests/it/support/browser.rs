//! A browser by hand, and the client that sends its person there.

use serde_json::{Value, json};

use super::{Answer, Gateway, PASSWORD, request};

/// A verifier and its challenge, as RFC 7636 has them.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Where the client's people are sent back to.
pub(crate) const REDIRECT: &str = "http://127.0.0.1:5173/callback";

/// A form, or a query.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A field of a URL's query.
pub(crate) fn field(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut fields = url::form_urlencoded::parse(query.as_bytes());
    fields.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// The access token among tokens.
pub(crate) fn access(tokens: &Value) -> &str {
    tokens["access_token"].as_str().expect("a token")
}

/// The refresh token among them.
pub(crate) fn refresh(tokens: &Value) -> &str {
    tokens["refresh_token"].as_str().expect("a token")
}

/// The status of asking for the tools of everything with a token.
pub(crate) fn opens(gateway: &Gateway, token: &str) -> u16 {
    gateway.with_key(token).call("/mcp", "tools/list", "").status
}

/// A client that is known by an id.
#[derive(Clone)]
pub(crate) struct App<'a> {
    gateway: &'a Gateway,
    pub(crate) id: String,
    pub(crate) redirect: String,
    pub(crate) resource: String,
}

impl<'a> App<'a> {
    /// One that registers.
    pub(crate) fn register(gateway: &'a Gateway, name: &str) -> Self {
        let said = json!({"client_name": name, "redirect_uris": [REDIRECT]}).to_string();
        let said = gateway.ask_as(None, "POST", "/oauth/register", Some(&said));
        assert_eq!(said.status, 201, "{}", said.text());
        let id = said.json()["client_id"].as_str().expect("an id").to_owned();
        Self::known(gateway, &id, REDIRECT)
    }

    /// One that is known already.
    pub(crate) fn known(gateway: &'a Gateway, id: &str, redirect: &str) -> Self {
        let resource = format!("http://{}/mcp", gateway.address);
        Self { gateway, id: id.into(), redirect: redirect.into(), resource }
    }

    /// The path that it sends its people to, with other fields where they are given; those that are
    /// empty are left out.
    pub(crate) fn path(&self, other: &[(&str, &str)]) -> String {
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", &*self.id),
            ("redirect_uri", &*self.redirect),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", &*self.resource),
            ("state", "s&1"),
        ];
        fields.retain(|(name, _)| !other.iter().any(|(it, _)| it == name));
        fields.extend(other.iter().filter(|(_, value)| !value.is_empty()));
        format!("/oauth/authorize?{}", form(&fields))
    }

    /// Asks for tokens with these fields, and its own where they are not among them.
    pub(crate) fn ask(&self, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("client_id", &*self.id)];
        all.retain(|(name, _)| !fields.iter().any(|(it, _)| it == name));
        all.extend(fields);
        self.send("/oauth/token", &form(&all))
    }

    pub(crate) fn send(&self, path: &str, body: &str) -> Answer {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        self.gateway.send(&request("POST", path, &self.gateway.address, &kind, Some(body)))
    }

    /// Exchanges a code, with other fields where they are given.
    pub(crate) fn exchange(&self, code: &str, other: &[(&str, &str)]) -> Answer {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &*self.redirect),
            ("code_verifier", VERIFIER),
            ("resource", &*self.resource),
        ];
        fields.retain(|(name, _)| !other.iter().any(|(it, _)| it == name));
        fields.extend(other.iter().filter(|(_, value)| !value.is_empty()));
        self.ask(&fields)
    }

    /// Exchanges a refresh token.
    pub(crate) fn refresh(&self, token: &str) -> Answer {
        self.ask(&[("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    /// The tokens that a person gives it leave to.
    pub(crate) fn tokens(&self, browser: &mut Browser<'_>, other: &[(&str, &str)]) -> Value {
        let code = browser.allow(&self.path(other));
        let said = self.exchange(&code, &[]);
        assert_eq!(said.status, 200, "{}", said.text());
        said.json()
    }
}

/// A browser with its cookie.
pub(crate) struct Browser<'a> {
    gateway: &'a Gateway,
    pub(crate) cookie: Option<String>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, cookie: None }
    }

    /// One in which somebody is signed in.
    pub(crate) fn signed_in(gateway: &'a Gateway, name: &str) -> Self {
        let mut browser = Self::new(gateway);
        let app = App::register(gateway, "App");
        assert_eq!(browser.sign_in(&app.path(&[]), name, PASSWORD).status, 303);
        browser
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[("Sec-Fetch-Site", "none")], None)
    }

    /// Sends a form of a page of ours.
    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from("same-origin", path, fields)
    }

    pub(crate) fn post_from(&mut self, site: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        self.send("POST", path, &[kind, ("Sec-Fetch-Site", site)], Some(&form(fields)))
    }

    fn send(
        &mut self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let cookie = self.cookie.clone();
        let mut all = headers.to_vec();
        all.extend(cookie.as_deref().map(|cookie| ("Cookie", cookie)));
        let said = self.gateway.send(&request(verb, path, &self.gateway.address, &all, body));
        if let Some(set) = said.headers.get("set-cookie") {
            let pair = set.split(';').next().expect("a pair");
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        said
    }

    /// Signs somebody in on the page at this path.
    pub(crate) fn sign_in(&mut self, path: &str, username: &str, password: &str) -> Answer {
        let fields = [("decision", "sign_in"), ("username", username), ("password", password)];
        self.post(path, &fields)
    }

    /// The token in the form of the page at this path.
    pub(crate) fn csrf(&mut self, path: &str) -> String {
        let page = self.get(path);
        let text = page.text();
        let (_, rest) = text.split_once("name=\"csrf\" value=\"").expect("a form to consent");
        rest.split('"').next().expect("a value").to_owned()
    }

    /// Decides on the page at this path.
    pub(crate) fn decide(&mut self, path: &str, decision: &str) -> Answer {
        let csrf = self.csrf(path);
        self.post(path, &[("decision", decision), ("csrf", &csrf)])
    }

    /// Consents on the page at this path, and gives the code.
    pub(crate) fn allow(&mut self, path: &str) -> String {
        let said = self.decide(path, "allow");
        assert_eq!(said.status, 303, "{}", said.text());
        field(&said.headers["location"], "code").expect("a code")
    }
}
