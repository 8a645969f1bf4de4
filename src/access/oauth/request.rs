//! What a client asks a person for, and the code it gets.

use std::collections::HashMap;

use crate::{
    access::{
        Access, Caller, Resource, jwt,
        oauth::{Client, Error, Settings, client::is_local},
    },
    domain::{PrincipalKind, Secret, TokenScopes, UserId},
};

/// The longest `state` that is handed back, in bytes.
const STATE_LENGTH: usize = 2_000;
/// Characters of a challenge: 256 bits in base64.
const CHALLENGE_LENGTH: usize = 43;

/// The endpoint of everything.
const EVERYTHING: &str = "/mcp";

/// What a client wants, once it is known to be asked in the right way. Everything a person is shown
/// comes from here.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) client: Client,
    /// Where the person is sent back to, which is one of the client's addresses.
    pub(crate) redirect: String,
    pub(crate) resource: Resource,
    pub(crate) scopes: TokenScopes,
    state: Option<String>,
    challenge: String,
}

/// What a code stands for.
#[derive(Debug, Clone)]
pub(crate) struct Authorization {
    pub(super) client: String,
    pub(super) name: String,
    pub(super) redirect: String,
    pub(super) challenge: String,
    pub(super) resource: String,
    pub(super) scopes: TokenScopes,
}

/// The fields of a query or a form. None may stand there twice.
pub(super) struct Fields(HashMap<String, String>);

impl Fields {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut fields = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(text) {
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Error::Request("a parameter stands there twice"));
            }
        }
        Ok(Self(fields))
    }

    /// A field; what is empty is not there (RFC 6749).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn need(&self, name: &str, complaint: &'static str) -> Result<&str, Error> {
        self.get(name).ok_or(Error::Request(complaint))
    }
}

impl Wanted {
    /// Where the person is sent back to, with these answers.
    pub(crate) fn answer(&self, issuer: &str, answers: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(answers);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", issuer);
        let sign = if self.redirect.contains('?') { '&' } else { '?' };
        format!("{}{sign}{}", self.redirect, query.finish())
    }

    /// Whether the answer goes to a program on the person's own machine.
    pub(crate) fn is_local(&self) -> bool {
        is_local(&self.redirect)
    }
}

impl Access {
    /// What is allowed to clients that act for people.
    pub(crate) fn oauth_settings(&self) -> &Settings {
        &self.0.settings.oauth
    }

    /// The URL of the client's document, where that is to be read before the client is known.
    pub(crate) fn document_to_read(&self, query: &str) -> Result<Option<String>, Error> {
        let fields = Fields::parse(query.as_bytes())?;
        let id = fields.need("client_id", "client_id is missing")?;
        Ok(self.known_client(id)?.is_none().then(|| id.to_owned()))
    }

    /// Takes note of a document that was read.
    pub(crate) fn read_document(&self, url: &str, document: &[u8]) -> Result<(), Error> {
        self.remember_client(url, document).map(drop)
    }

    /// What a client wants. Where anything is wrong with it, nobody is sent anywhere: whoever made
    /// the request may have made the client too.
    pub(crate) fn wanted(&self, base: &str, query: &str) -> Result<Wanted, Error> {
        let fields = Fields::parse(query.as_bytes())?;
        let id = fields.need("client_id", "client_id is missing")?;
        let client = self.known_client(id)?;
        let client = client.ok_or(Error::Client("the document of the client cannot be read"))?;
        let redirect = fields.need("redirect_uri", "redirect_uri is missing")?;
        if !client.redirects_to(redirect) {
            return Err(Error::Redirect);
        }
        if fields.need("response_type", "response_type is missing")? != "code" {
            return Err(Error::ResponseType);
        }
        if fields.get("request").or(fields.get("request_uri")).is_some() {
            return Err(Error::Request("requests within requests are not read here"));
        }
        if fields.get("code_challenge_method") != Some("S256") {
            return Err(Error::Request("code_challenge_method is not S256"));
        }
        let challenge = fields.need("code_challenge", "code_challenge is missing")?;
        let is_base64 = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
        if challenge.len() != CHALLENGE_LENGTH || !challenge.bytes().all(is_base64) {
            return Err(Error::Request("code_challenge is no SHA-256 in base64url"));
        }
        let state = fields.get("state").map(str::to_owned);
        if state.as_ref().is_some_and(|state| state.len() > STATE_LENGTH) {
            return Err(Error::Request("state is too long"));
        }
        // Clients of 2025-03-26 name no resource, because they know of one alone.
        let resource = match fields.get("resource") {
            Some(url) => Resource::with_url(base, url),
            None => Resource::at(base, EVERYTHING),
        };
        let resource = resource.ok_or(Error::Target)?;
        let scopes = fields.get("scope").map_or_else(TokenScopes::all, TokenScopes::read);
        if scopes.is_empty() {
            return Err(Error::Scope);
        }
        let (redirect, challenge) = (redirect.to_owned(), challenge.to_owned());
        Ok(Wanted { client, redirect, resource, scopes, state, challenge })
    }

    /// Whether a person has given this leave before, and need not be asked again. Of clients that
    /// registered by themselves, and of programs on the person's machine, nobody can know whether
    /// they are the same as then.
    pub(crate) fn is_given(&self, caller: &Caller, wanted: &Wanted) -> bool {
        let Ok(user) = person(caller) else { return false };
        wanted.client.is_vouched
            && !wanted.is_local()
            && self.0.logins.consents_of(user).iter().any(|(login, consent)| {
                consent.client == wanted.client.id
                    && consent.redirect == wanted.redirect
                    && consent.resource == wanted.resource.url
                    && consent.scopes.include(&wanted.scopes)
                    && self.standing(login).is_ok()
            })
    }

    /// The code for what a person allows.
    pub(crate) fn give_code(&self, caller: &Caller, wanted: &Wanted) -> Result<Secret, Error> {
        let user = person(caller)?;
        let settings = &self.0.settings.oauth;
        let code = Secret::new(format!("tho_{}", *jwt::random_text()));
        let asked = Authorization {
            client: wanted.client.id.clone(),
            name: wanted.client.name.clone(),
            redirect: wanted.redirect.clone(),
            challenge: wanted.challenge.clone(),
            resource: wanted.resource.url.clone(),
            scopes: wanted.scopes.clone(),
        };
        let limits = (settings.code_life(), settings.max_codes, settings.max_codes_per_user);
        let now = self.0.clock.now();
        self.0.counter.codes.give(self.code_of(&code), (user, asked), now, limits)?;
        Ok(code)
    }

    pub(super) fn code_of(&self, code: &Secret) -> [u8; 32] {
        self.0.ring.digest(&zeroize::Zeroizing::new(format!("oauth code {}", code.expose())))
    }
}

/// The person who asks, where it is one.
pub(super) fn person(caller: &Caller) -> Result<UserId, Error> {
    match caller.principal().kind {
        PrincipalKind::User(id) => Ok(id),
        _ => Err(Error::Room(crate::access::Error::NotSignedIn)),
    }
}
