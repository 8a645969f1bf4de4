//! Which issuers are trusted, and how far.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{claims::Names, jwks::Algorithm};
use crate::{access::page::is_plain_host, domain::Role};

/// Issuers there may be.
const MOST: usize = 50;

/// An issuer whose tokens open something here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// What it calls itself in its tokens: its URL.
    pub(crate) issuer: String,
    /// Whom its tokens are meant for. Without any, each opens the endpoint whose URL is its
    /// audience, and nothing else.
    #[serde(default)]
    pub(crate) audience: Vec<String>,
    /// Where its keys are; found out at the issuer where nothing is said.
    #[serde(default)]
    pub(crate) jwks_url: Option<String>,
    /// How its tokens may be signed.
    #[serde(default = "all")]
    pub(crate) algorithms: Vec<Algorithm>,
    /// Whether it may be at an address that is not public, as in an intranet, or, on this very
    /// machine, without TLS.
    #[serde(default)]
    pub(crate) private: bool,
    /// The claims that say who somebody is.
    #[serde(default)]
    pub(crate) claims: Names,
    /// What values of the claim `role` make somebody.
    #[serde(default)]
    pub(crate) roles: BTreeMap<String, Role>,
    /// What everybody else is. Without it nobody else comes in.
    #[serde(default)]
    pub(crate) role: Option<Role>,
    /// Where people belong of whom no claim says it; the organization that exists from the start
    /// where nothing is said.
    #[serde(default)]
    pub(crate) organization: Option<String>,
}

fn all() -> Vec<Algorithm> {
    Algorithm::ALL.into()
}

/// How the keys of issuers are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeySettings {
    /// Seconds after which they are read again.
    pub(crate) seconds: u32,
    /// Seconds for which they hold on where they cannot be read again.
    pub(crate) stale_seconds: u32,
    /// Seconds between two times that they are read at most, whatever tokens ask for.
    pub(crate) retry_seconds: u32,
    /// The longest document, in bytes.
    pub(crate) bytes: usize,
    /// How long reading one may take, in milliseconds.
    pub(crate) read_ms: u64,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            seconds: 3_600,
            stale_seconds: 86_400,
            retry_seconds: 30,
            bytes: 256 * 1_024,
            read_ms: 5_000,
        }
    }
}

/// What is wrong with the settings of an issuer, and what to do about it.
pub(crate) struct Misfit {
    /// Which of them, counted from 0.
    pub(crate) index: usize,
    pub(crate) wrong: &'static str,
    pub(crate) fix: &'static str,
}

/// Looks for what is wrong with issuers that no type can say.
pub(in crate::access) fn check(issuers: &[Settings]) -> Result<(), Misfit> {
    for (index, one) in issuers.iter().enumerate() {
        let fault = |wrong, fix| Err(Misfit { index, wrong, fix });
        let urls = [Some(&one.issuer), one.jwks_url.as_ref()];
        if !urls.into_iter().flatten().all(|url| may_be_read(url, one.private)) {
            let fix = "write https URLs; http is for private: true, and for this very machine";
            return fault("has an issuer or a jwks_url that is not asked", fix);
        }
        if issuers[..index].iter().any(|other| other.issuer == one.issuer) || index >= MOST {
            return fault("is one too many", "name each issuer once, and at most 50 of them");
        }
        if one.algorithms.is_empty() {
            return fault("has no algorithms", "leave them out, or name for example RS256");
        }
        if one.claims.role.is_some() == one.roles.is_empty() {
            let fix = "name the claim as claims.role, and what its values mean under roles";
            return fault("has roles without a claim, or a claim without roles", fix);
        }
        if one.role.is_none() && one.roles.is_empty() {
            return fault("lets nobody in", "set role: user, or claims.role with roles");
        }
    }
    Ok(())
}

/// Whether a document may be read at a URL.
pub(super) fn may_be_read(url: &str, private: bool) -> bool {
    let Ok(parsed) = Url::parse(url) else { return false };
    let is_plain = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    is_plain
        && match parsed.scheme() {
            "https" => true,
            "http" => private && parsed.host_str().is_some_and(is_plain_host),
            _ => false,
        }
}
