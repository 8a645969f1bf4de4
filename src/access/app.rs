//! Apps: programs that call for themselves, and show a token that is good for minutes in the place
//! of their key.
//!
//! A token never opens more than the key it was exchanged for does now, and ends with it.

use std::{sync::Arc, time::Duration};

use crate::{
    access::{
        Access, Caller, Error,
        credential::PresentedKey,
        jwt::{self, Claims},
        tokens::{Shown, Whose},
    },
    domain::{
        ApiKey, Grant, KeyId, KeyText, KeyType, Limits, NamespaceId, OrganizationId, Permission,
        Permissions, Principal, Secret, Server, ServerId, Timestamp,
    },
    problem::{Classify, Kind},
    store,
};

/// The longest list of permissions that is asked for, in bytes.
const LONGEST_SCOPE: usize = 2_000;

/// What a token says that an app has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct App {
    pub(super) key: KeyId,
    organization: OrganizationId,
    /// What it is good for, whatever else the key may.
    within: Permissions,
    namespace: Option<NamespaceId>,
    server: Option<ServerId>,
}

/// What an app asks for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The text of its key, or of a token that it was given for it.
    pub(crate) credential: Option<Secret>,
    /// The id of the key, where that is shown beside its text.
    pub(crate) client_id: Option<String>,
    /// Permissions, with spaces between them; all that the key has, where nothing is said.
    pub(crate) scope: Option<String>,
    /// The one namespace that it is to open.
    pub(crate) namespace: Option<String>,
    /// The one server that it is to open.
    pub(crate) audience: Option<String>,
    /// Seconds for which it is to be good.
    pub(crate) expires_in: Option<u64>,
}

/// What it gets.
#[derive(Debug)]
pub(crate) struct GivenToApp {
    pub(crate) token: Secret,
    /// Seconds for which it is good.
    pub(crate) expires_in: u64,
    pub(crate) scope: String,
    pub(crate) namespace: Option<String>,
}

/// Why an app gets nothing, in the words of RFC 6749 and RFC 8693.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Neither a key nor a token that is good now.
    #[error("show an API key of the type a2a, or a token that was given for one")]
    Client,
    /// The key of a person.
    #[error("only keys of the type a2a are exchanged; this one is somebody's own")]
    NotAnApp,
    /// No permissions, or more than there are.
    #[error("scope: {0}")]
    Scope(String),
    /// A namespace or a server that is not there, or lies beyond.
    #[error("{0} names nothing that this key opens")]
    Target(&'static str),
    /// A time that is too long, or none.
    #[error("expires_in is at least 1 and at most {0} seconds (access.tokens.max_app_seconds)")]
    Life(u64),
    /// The room's own reasons.
    #[error(transparent)]
    Room(#[from] Error),
}

impl Refusal {
    /// The code of the error, as clients read it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Client => "invalid_client",
            Self::NotAnApp => "unauthorized_client",
            Self::Scope(_) => "invalid_scope",
            Self::Target(_) => "invalid_target",
            Self::Life(_) => "invalid_request",
            Self::Room(_) => "server_error",
        }
    }
}

impl Classify for Refusal {
    fn kind(&self) -> Kind {
        match self {
            Self::Client => Kind::Unauthenticated,
            Self::NotAnApp => Kind::Forbidden,
            Self::Scope(_) | Self::Target(_) | Self::Life(_) => Kind::Invalid,
            Self::Room(error) => error.kind(),
        }
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        Self::Room(error.into())
    }
}

impl App {
    /// What a token says; none where it says it in no way of ours.
    pub(super) fn of(claims: &Claims, house: &str) -> Option<Self> {
        let server = match claims.aud.strip_prefix(house)? {
            "" => None,
            path => Some(path.strip_prefix(SERVERS)?.parse().ok()?),
        };
        Some(Self {
            key: claims.sub.strip_prefix("app:")?.parse().ok()?,
            organization: claims.org?,
            within: permissions(claims.scope.as_deref()?)?,
            namespace: claims.ns,
            server,
        })
    }

    /// These claims, and what it says beside them.
    pub(super) fn over(&self, house: &str, claims: Claims) -> Claims {
        let server = self.server.map(|server| format!("{SERVERS}{server}"));
        Claims {
            aud: format!("{house}{}", server.unwrap_or_default()),
            scope: Some(words(self.within)),
            org: Some(self.organization),
            ns: self.namespace,
            ..claims
        }
    }

    /// Whoever shows the key, as far as this goes; none where it lies beyond.
    fn narrow(&self, principal: Principal) -> Option<Principal> {
        if principal.organization != self.organization {
            return None;
        }
        let limits = if self.namespace.is_none() && self.server.is_none() {
            principal.limits
        } else {
            let none = Limits::default();
            let limits = principal.limits.as_deref().unwrap_or(&none);
            Some(Arc::new(limits.narrowed(self.namespace, self.server)?))
        };
        let permissions = principal.permissions.and(self.within);
        Some(Principal { permissions, within: self.within, limits, ..principal })
    }
}

/// Stands before a server's id in what a token is meant for.
const SERVERS: &str = "/servers/";

fn words(permissions: Permissions) -> String {
    let words: Vec<&str> = permissions.iter().map(Permission::as_str).collect();
    words.join(" ")
}

fn permissions(words: &str) -> Option<Permissions> {
    words
        .split(' ')
        .map(|word| word.parse::<Grant>().ok())
        .try_fold(Permissions::NONE, |all, grant| Some(all.or(grant?.permissions())))
}

impl Access {
    /// Who shows the token of an app: the key it was given for, as that is now, and as far as the
    /// token goes.
    pub(super) fn app_caller(&self, app: &App) -> Result<Caller, Error> {
        let open = self.0.ring.open(app.key, self.0.clock.now());
        let (principal, _) = open.ok_or(Error::InvalidToken)?;
        Ok(Caller::app(app.narrow(principal).ok_or(Error::InvalidToken)?))
    }

    /// Gives an app a token for its key, or a lesser one for a token.
    pub(crate) async fn exchange_for_app(&self, asked: &Asked) -> Result<GivenToApp, Refusal> {
        let now = self.0.clock.now();
        let (held, ends_at) = self.app_of(asked, now)?;
        let (principal, key_type) = self.0.ring.open(held.key, now).ok_or(Refusal::Client)?;
        if key_type != KeyType::A2a {
            return Err(Refusal::NotAnApp);
        }
        let principal = held.narrow(principal).ok_or(Refusal::Client)?;
        let app = self.narrowed(&held, &principal, asked)?;
        let life = self.life(asked.expires_in, ends_at, now)?;
        self.have_signing_key().await?;
        let token = self.0.tokens.sign_app(&app, life, now).ok_or(Error::NoSigningKey)?;
        tracing::info!(key = %app.key, scope = words(app.within), "an app gets a token");
        Ok(GivenToApp {
            token,
            expires_in: life.as_secs(),
            scope: words(app.within),
            namespace: asked.namespace.clone(),
        })
    }

    /// What the credential is good for that an app shows, and until when.
    fn app_of(&self, asked: &Asked, now: Timestamp) -> Result<(App, Option<Timestamp>), Refusal> {
        let text = asked.credential.as_ref().ok_or(Refusal::Client)?;
        let (app, ends_at) = if KeyText::is_claimed_by(text.expose()) {
            let shown = PresentedKey::new(text.clone());
            let principal = self.0.ring.find(&shown, now).map_err(|_| Refusal::Client)?;
            let key = KeyText::parse(text.expose()).map_err(|_| Refusal::Client)?.id;
            let within = Permissions::all();
            let organization = principal.organization;
            (App { key, organization, within, namespace: None, server: None }, None)
        } else {
            let shown = self.0.tokens.read(text.expose(), now).map_err(|_| Refusal::Client)?;
            match shown {
                Shown { whose: Whose::App(app), ends_at } => (app, Some(ends_at)),
                Shown { whose: Whose::Person { .. } | Whose::Federated(_), .. } => {
                    return Err(Refusal::NotAnApp);
                }
            }
        };
        if asked.client_id.as_ref().is_some_and(|id| *id != app.key.to_string()) {
            return Err(Refusal::Client);
        }
        Ok((app, ends_at))
    }

    /// As much of what is held as is asked for.
    fn narrowed(&self, held: &App, principal: &Principal, asked: &Asked) -> Result<App, Refusal> {
        let snapshot = self.0.store.read()?;
        let theirs = |organization| organization == principal.organization;
        let namespace = match &asked.namespace {
            None => held.namespace,
            Some(name) => {
                let all = snapshot.namespaces()?.into_iter().filter(|it| theirs(it.organization));
                let is_meant =
                    |slug: &str, id: NamespaceId| slug == name || id.to_string() == *name;
                let found = all.into_iter().find(|it| is_meant(it.slug.as_str(), it.id));
                Some(found.ok_or(Refusal::Target("namespace"))?.id)
            }
        };
        let server = match &asked.audience {
            None => held.server,
            Some(name) => {
                let all = snapshot.servers()?.into_iter().filter(|it| theirs(it.organization));
                let is_meant = |it: &Server| it.name.as_str() == name || it.id.to_string() == *name;
                let found = all.into_iter().find(|it| is_meant(it) && principal.sight().shows(it));
                let is_there = |id| namespace.is_none_or(|namespace| namespace == id);
                let found = found.filter(|it| is_there(it.namespace));
                Some(found.ok_or(Refusal::Target("audience"))?.id)
            }
        };
        let limits = principal.limits.as_deref().cloned().unwrap_or_default();
        let narrowed = limits.narrowed(namespace, server).ok_or(Refusal::Target("namespace"))?;
        let ceiling = if narrowed.is_none() { Permissions::all() } else { ApiKey::within_limits() };
        let may = principal.permissions.and(ceiling);
        let within = match asked.scope.as_deref().map(str::trim).filter(|scope| !scope.is_empty()) {
            None => may,
            Some(scope) if scope.len() > LONGEST_SCOPE => {
                return Err(Refusal::Scope(format!("it is longer than {LONGEST_SCOPE} bytes")));
            }
            Some(scope) => {
                let wanted = permissions(scope).ok_or_else(|| {
                    Refusal::Scope("it is not permissions with a space between them".to_owned())
                })?;
                if !may.include(wanted) {
                    let reason = "it asks for more than this credential is good for";
                    return Err(Refusal::Scope(reason.to_owned()));
                }
                wanted
            }
        };
        if within == Permissions::NONE {
            return Err(Refusal::Scope("nothing is left of it".to_owned()));
        }
        Ok(App { within, namespace, server, ..held.clone() })
    }

    /// How long the token is good: never longer than what it is exchanged for.
    fn life(
        &self,
        asked: Option<u64>,
        ends_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Duration, Refusal> {
        let settings = &self.0.settings.tokens;
        let most = u64::from(settings.max_app_seconds);
        let life = match asked {
            None => u64::from(settings.app_seconds).min(most),
            Some(seconds) if (1..=most).contains(&seconds) => seconds,
            Some(_) => return Err(Refusal::Life(most)),
        };
        let left = ends_at.map_or(u64::MAX, |end| {
            let ms = end.as_ms().saturating_sub(now.as_ms());
            u64::try_from(ms / 1_000).unwrap_or(0).saturating_sub(LEEWAY_S)
        });
        match life.min(left) {
            0 => Err(Refusal::Client),
            life => Ok(Duration::from_secs(life)),
        }
    }
}

/// So long a token still opens something after the moment that it names as its end.
const LEEWAY_S: u64 = jwt::LEEWAY.unsigned_abs();
