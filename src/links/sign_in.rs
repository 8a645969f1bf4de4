//! Signing in at a server: how it begins, and how it ends when whoever gives the tokens sends the
//! person back.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::sha::sha256;
use serde_json::{Value, json};

use super::{Error, Links, account::granted_to, endpoint};
use crate::{
    access::{Caller, random_text},
    domain::{
        Link, LinkId, PrincipalKind, Secret, Server, ServerAuth, ServerId, Timestamp, UserAuth,
        UserId,
    },
    upstream::oauth::{Client, Code, Desk, Discovered, Issuer, ask, discover, register},
};

/// Where people are sent back to, below what the URLs of this gateway begin with.
const CALLBACK: &str = "/oauth/callback";
/// Where it says who it is as a client.
const DOCUMENT: &str = "/oauth/client.json";
/// Registrations that are remembered.
const KNOWN: usize = 1_000;
/// The longest code or word that is taken from whoever sends people back, in bytes.
const LONGEST: usize = 4_096;

/// Somebody who is on their way.
pub(super) struct Pending {
    user: UserId,
    server: ServerId,
    label: String,
    verifier: Secret,
    redirect: String,
    found: Discovered,
    client: Client,
    until: Timestamp,
}

/// A sign-in that has begun.
pub(crate) struct Begun {
    /// Where the person goes now.
    pub(crate) url: String,
    /// Who is there.
    pub(crate) issuer: String,
    /// Seconds that they have.
    pub(crate) seconds: u64,
}

/// What whoever gives tokens sends a person back with.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct Returned {
    #[serde(default)]
    pub(crate) state: String,
    #[serde(default)]
    code: Option<Secret>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    iss: Option<String>,
}

/// What the gateway says of itself as a client (client ID metadata document).
pub(crate) fn client_document(base: &str) -> Value {
    let mut said = description(&format!("{base}{CALLBACK}"), "none");
    said["client_id"] = format!("{base}{DOCUMENT}").into();
    said["client_uri"] = base.into();
    said
}

fn description(redirect: &str, method: &str) -> Value {
    let is_native = redirect.starts_with("http://");
    json!({
        "client_name": "Tollhouse",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": if is_native { "native" } else { "web" },
    })
}

impl Links {
    /// Begins a sign-in of the caller at a server. `base` is what URLs of this gateway begin with
    /// in their browser.
    pub(crate) async fn begin(
        &self,
        caller: &Caller,
        server: &Server,
        base: &str,
    ) -> Result<Begun, Error> {
        let PrincipalKind::User(user) = caller.principal().kind else {
            return Err(Error::Nobody);
        };
        let Some((url, ServerAuth::OAuth(auth))) = endpoint(server) else {
            return Err(Error::NeedsNone(server.name.to_string()));
        };
        let mut found = discover(url, &self.0.speaking).await?;
        let redirect = format!("{base}{CALLBACK}");
        let client = self.client(server, auth, &found.issuer, (base, &redirect)).await?;
        let [state, verifier] = [(); 2].map(|()| Secret::new(random_text().as_str()));
        let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.expose().as_bytes()));
        let to = found.issuer.authorization_endpoint.as_deref();
        let to = to.and_then(|to| url::Url::parse(to).ok());
        let mut to = to.ok_or(Error::NoClient(redirect.clone()))?;
        let book = self.0.book.load();
        let before = book.0.get(&(server.id, user)).and_then(|it| it.renewing.scopes());
        let scope = scope(auth, &found, before.as_deref());
        found.scope.clone_from(&scope);
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", &redirect)
            .append_pair("state", state.expose())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &found.resource)
            .extend_pairs(scope.iter().map(|scope| ("scope", scope)));
        let (issuer, seconds) =
            (found.issuer.grantor.name.clone(), self.0.settings.sign_in_seconds);
        let now = self.0.clock.now();
        let until = now.after(Duration::from_secs(seconds.into()));
        let label = format!("{} at {}", caller.principal().kind, server.name);
        let server = server.id;
        let pending = Pending { user, server, label, verifier, redirect, found, client, until };
        self.put(state.expose(), pending, now)?;
        Ok(Begun { url: to.into(), issuer, seconds: seconds.into() })
    }

    fn put(&self, state: &str, new: Pending, now: Timestamp) -> Result<(), Error> {
        let mut pending = self.0.pending.lock();
        pending.retain(|_, it| it.until > now && (it.user, it.server) != (new.user, new.server));
        if pending.len() >= self.0.settings.max_pending {
            return Err(Error::Busy);
        }
        pending.insert(state.to_owned(), new);
        Ok(())
    }

    /// What the gateway is called at an issuer: as the definition says, by its document, or as it
    /// registers.
    async fn client(
        &self,
        server: &Server,
        auth: &UserAuth,
        issuer: &Issuer,
        (base, redirect): (&str, &str),
    ) -> Result<Client, Error> {
        if let Some(id) = &auth.client_id {
            return Ok(Client { id: id.clone(), secret: auth.client_secret.clone() });
        }
        if issuer.takes_documents && base.starts_with("https://") {
            return Ok(Client { id: format!("{base}{DOCUMENT}"), secret: None });
        }
        let place = (server.id, format!("{} {redirect}", issuer.grantor.name));
        if let Some(client) = self.0.known.lock().get(&place) {
            return Ok(client.clone());
        }
        let Some(registration) = &issuer.registration_endpoint else {
            return Err(Error::NoClient(redirect.to_owned()));
        };
        let said = description(redirect, issuer.method());
        let registered =
            register(Desk::at(&issuer.grantor, registration), &said, &self.0.speaking).await?;
        let secret = registered.client_secret.filter(|_| issuer.method() != "none");
        let client = Client { id: registered.client_id, secret };
        let mut known = self.0.known.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(place, client.clone());
        Ok(client)
    }

    /// Ends a sign-in: what whoever gives tokens sent the caller back with becomes their link.
    /// Gives what the server is called.
    pub(crate) async fn finish(&self, caller: &Caller, said: Returned) -> Result<String, Error> {
        let now = self.0.clock.now();
        let found = self.0.pending.lock().remove(&said.state).filter(|it| it.until > now);
        let pending = found.ok_or(Error::NotBegun)?;
        // Whoever is lured here with another's sign-in would give their account away.
        if caller.principal().kind != PrincipalKind::User(pending.user) {
            return Err(Error::Others);
        }
        let issuer = &pending.found.issuer;
        // RFC 9207: an answer of another issuer is not taken to this one.
        let is_its_own = said.iss.as_ref().is_none_or(|name| *name == issuer.grantor.name);
        if !is_its_own || (issuer.names_itself && said.iss.is_none()) {
            return Err(Error::OtherIssuer);
        }
        if let Some(error) = said.error {
            return Err(Error::Denied(Code::new(&error)));
        }
        let code =
            said.code.filter(|code| code.expose().len() <= LONGEST).ok_or(Error::NotBegun)?;
        let fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", &*pending.redirect),
            ("code_verifier", pending.verifier.expose()),
            ("resource", &*pending.found.resource),
        ];
        let granted =
            ask(Desk::of(&issuer.grantor), &pending.client, fields, &self.0.speaking).await?;
        let link = Link {
            id: LinkId::fresh(),
            server: pending.server,
            user: pending.user,
            label: pending.label,
            issuer: pending.found.issuer.grantor,
            client_id: pending.client.id,
            client_secret: pending.client.secret,
            resource: pending.found.resource,
            scope: pending.found.scope,
            access: granted.access.clone(),
            ends_at: now,
            refresh: None,
            linked_at: now,
            is_over: false,
        };
        self.enter(caller, granted_to(link, &granted, now)).await
    }

    async fn enter(&self, caller: &Caller, link: Link) -> Result<String, Error> {
        let max = self.0.settings.max_links;
        let who = caller.actor();
        let written = self.0.store.write(&who, move |change| {
            let servers = change.servers()?;
            let server = servers.into_iter().find(|server| server.id == link.server);
            let server = server.ok_or(Error::NotBegun)?;
            let links = change.links()?;
            let is_before = |it: &&Link| it.server == link.server && it.user == link.user;
            for before in links.iter().filter(is_before) {
                change.remove_link(&before.id)?;
            }
            if links.len() >= max {
                return Err(Error::TooMany(max));
            }
            change.put_link(&link)?;
            Ok(server.name.to_string())
        });
        let name = written.await?;
        self.reload()?;
        Ok(name)
    }
}

/// What is asked for: what the definition names, or what the server does; what was asked for
/// before and what was missing then; and to be let in later where that is a scope of its own.
fn scope(auth: &UserAuth, found: &Discovered, before: Option<&str>) -> Option<String> {
    let named = (!auth.scopes.is_empty()).then(|| auth.scopes.join(" "));
    let said = named.as_ref().or(found.scope.as_ref()).map(String::as_str);
    let offline = ["offline_access"].into_iter();
    let offline =
        offline.filter(|_| said.is_some() && named.is_none() && found.issuer.offers_offline);
    let mut all: Vec<&str> = Vec::new();
    let words = said.into_iter().chain(before).flat_map(str::split_ascii_whitespace);
    for word in words.chain(offline) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    (!all.is_empty()).then(|| all.join(" "))
}
