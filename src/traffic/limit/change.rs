//! Changes to rate limits: written, checked, kept.

use crate::{
    access::Caller,
    domain::{Actor, Misfit, OrganizationId, RateLimit, RateLimitForm, RateLimitId, Timestamp},
    problem::{Classify, Kind},
    store,
    traffic::{
        Traffic,
        limit::{Limiter, Settings},
    },
};

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such limit.
    #[error("there is no rate limit {0:?}")]
    NoSuchLimit(String),
    /// Something of it that is no good.
    #[error("the rate limit is not right at {0}")]
    Wrong(#[from] Misfit),
    /// A name that is taken.
    #[error("there is a rate limit {0:?} already")]
    Taken(String),
    /// One of the settings file.
    #[error("{0:?} stands in the settings file; change it there")]
    OfFile(String),
    /// As many as there may be.
    #[error(
        "there are {0} rate limits already, which is the limit traffic.limits.per_organization"
    )]
    TooMany(usize),
    /// The Redis of the settings.
    #[error("traffic.limits.redis.url: {0}")]
    Redis(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchLimit(_) => Kind::NotFound,
            Self::Wrong(_) | Self::Redis(_) => Kind::Invalid,
            Self::Taken(_) | Self::OfFile(_) => Kind::Conflict,
            Self::TooMany(_) => Kind::Quota,
            Self::Store(error) => error.kind(),
        }
    }
}

/// A rate limit, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The limit.
    pub(crate) limit: RateLimit,
    /// Whether it stands in the store, where it can be changed, and not in the settings file.
    pub(crate) is_stored: bool,
}

impl Written {
    /// What it goes by in paths.
    pub(crate) fn id(&self) -> String {
        if self.is_stored {
            self.limit.id.to_string()
        } else {
            format!("{}{}", RateLimit::FILE_PREFIX, self.limit.name)
        }
    }
}

impl Settings {
    /// The limits of the settings file.
    pub(super) fn of_file(&self) -> Result<Vec<RateLimit>, Misfit> {
        let mut all: Vec<RateLimit> = Vec::new();
        for (index, definition) in self.rules.iter().enumerate() {
            let actor = Actor::system("settings file");
            // Of nobody, and the same at every start, so that what was counted goes on.
            let id = RateLimitId::named(definition.name.as_deref().unwrap_or_default());
            let new = RateLimit::blank(OrganizationId::fixed(0), id, actor, Timestamp::from_ms(0));
            let within = |wrong: Misfit| wrong.within(&format!("/{index}"));
            let limit = definition.over(new).map_err(within)?;
            if all.iter().any(|other| other.name == limit.name) {
                return Err(within(Misfit::new("/name", "another has it")));
            }
            all.push(limit);
        }
        if all.len() > self.per_organization {
            let reason = format!("there are more than {}", self.per_organization);
            return Err(Misfit::new("/", reason));
        }
        Ok(all)
    }

    /// What is wrong with the limits of the settings file.
    pub(crate) fn check_rules(&self) -> Result<(), Misfit> {
        self.of_file().map(drop)
    }
}

impl Limiter {
    pub(super) fn written(&self, organization: OrganizationId) -> Result<Vec<Written>, Error> {
        let stored = self.store.read()?.rate_limits()?.into_iter();
        let stored = stored.filter(|limit| limit.organization == organization);
        let of_file = self.of_file.iter().cloned();
        let of_file = of_file.map(|limit| Written { limit, is_stored: false });
        Ok(of_file.chain(stored.map(|limit| Written { limit, is_stored: true })).collect())
    }

    fn one(&self, organization: OrganizationId, id: &str) -> Result<Written, Error> {
        let mut all = self.written(organization)?;
        let by_id = all.iter().position(|written| written.id() == id);
        let found = by_id.or_else(|| all.iter().position(|written| written.limit.name == id));
        found.map(|at| all.swap_remove(at)).ok_or_else(|| Error::NoSuchLimit(id.to_owned()))
    }

    /// The id of one that can be changed.
    fn stored(&self, caller: &Caller, id: &str) -> Result<RateLimitId, Error> {
        let found = self.one(caller.principal().organization, id)?;
        if found.is_stored { Ok(found.limit.id) } else { Err(Error::OfFile(found.limit.name)) }
    }

    fn refuse_name_of_file(&self, name: &str) -> Result<(), Error> {
        match self.of_file.iter().find(|limit| limit.name == name) {
            Some(limit) => Err(Error::Taken(limit.name.clone())),
            None => Ok(()),
        }
    }
}

impl Traffic {
    /// The rate limits that hold in an organization.
    pub(crate) fn limits(&self, organization: OrganizationId) -> Result<Vec<Written>, Error> {
        self.0.limiter.written(organization)
    }

    /// One of them, by id or name.
    pub(crate) fn limit(&self, organization: OrganizationId, id: &str) -> Result<Written, Error> {
        self.0.limiter.one(organization, id)
    }

    /// Makes a rate limit. It holds once this returns.
    pub(crate) async fn create_limit(
        &self,
        caller: &Caller,
        definition: RateLimitForm,
    ) -> Result<Written, Error> {
        let (limiter, actor) = (&self.0.limiter, caller.actor());
        let organization = caller.principal().organization;
        let (id, now) = (RateLimitId::fresh(), limiter.clock.now());
        let limit = definition.over(RateLimit::blank(organization, id, caller.actor(), now))?;
        limiter.refuse_name_of_file(&limit.name)?;
        let (made, most) = (limit.clone(), limiter.settings.per_organization);
        let write = limiter.store.write(&actor, move |change| {
            let mut all = change.rate_limits()?;
            all.retain(|other| other.organization == limit.organization);
            if all.len() >= most {
                return Err(Error::TooMany(most));
            }
            if all.iter().any(|other| other.name == limit.name) {
                return Err(Error::Taken(limit.name));
            }
            Ok(change.put_rate_limit(&limit)?)
        });
        write.await?;
        limiter.reload()?;
        Ok(Written { limit: made, is_stored: true })
    }

    /// Changes a rate limit: what the definition does not say stays as it is.
    pub(crate) async fn update_limit(
        &self,
        caller: &Caller,
        id: &str,
        definition: RateLimitForm,
    ) -> Result<Written, Error> {
        let (limiter, actor) = (&self.0.limiter, caller.actor());
        let id = limiter.stored(caller, id)?;
        if let Some(name) = &definition.name {
            limiter.refuse_name_of_file(name.trim())?;
        }
        let write = limiter.store.write(&actor, move |change| {
            let all = change.rate_limits()?;
            let before = all.iter().find(|other| other.id == id).cloned();
            let before = before.ok_or_else(|| Error::NoSuchLimit(id.to_string()))?;
            let limit = definition.over(before)?;
            let limit = RateLimit { updated_at: change.now(), ..limit };
            let is_taken = |other: &RateLimit| {
                other.organization == limit.organization
                    && other.id != limit.id
                    && other.name == limit.name
            };
            if all.iter().any(is_taken) {
                return Err(Error::Taken(limit.name));
            }
            change.put_rate_limit(&limit)?;
            Ok(limit)
        });
        let limit = write.await?;
        limiter.reload()?;
        Ok(Written { limit, is_stored: true })
    }

    /// Removes a rate limit.
    pub(crate) async fn remove_limit(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<RateLimitId, Error> {
        let (limiter, actor) = (&self.0.limiter, caller.actor());
        let id = limiter.stored(caller, id)?;
        let write = limiter.store.write(&actor, move |change| {
            let gone = change.remove_rate_limit(&id)?;
            gone.map(drop).ok_or_else(|| Error::NoSuchLimit(id.to_string()))
        });
        write.await?;
        limiter.reload()?;
        Ok(id)
    }
}
