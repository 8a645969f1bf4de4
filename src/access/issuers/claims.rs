//! What the claims of another issuer's token mean here.

use openssl::sha::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Settings;
use crate::domain::{Grant, Permissions, Role, SubjectId, TokenScopes};

/// Values of one claim that are looked at.
const MOST: usize = 1_000;

/// The claims that say who somebody is: the name of a claim, or, where claims lie in each other,
/// all their names with dots between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Names {
    /// The slug or the id of their organization.
    pub(crate) organization: Option<String>,
    /// What `roles` turns into a role: one text, or several.
    pub(crate) role: Option<String>,
    /// What the token is good for, whatever else they may: permissions or scopes.
    pub(crate) permissions: Option<String>,
}

/// Somebody whom another issuer vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) id: SubjectId,
    /// Their organization's slug or id; none for the one that exists from the start.
    pub(super) organization: Option<String>,
    /// None where nothing makes them anything.
    pub(super) role: Option<Role>,
    /// What their token is good for.
    pub(super) within: Permissions,
}

/// Who it is, as far as the claims say it.
pub(super) fn subject(settings: &Settings, name: &str, claims: &Map<String, Value>) -> Subject {
    let Settings { issuer, claims: names, roles, role, organization, .. } = settings;
    let organization = match &names.organization {
        None => organization.clone(),
        // One that is not said is none that could be found.
        Some(name) => Some(find(claims, name).and_then(Value::as_str).unwrap_or("").to_owned()),
    };
    let said = names.role.as_deref().map(|name| texts(find(claims, name)));
    let mapped = said.iter().flatten().filter_map(|text| roles.get(*text)).copied();
    let role = mapped.max_by_key(|role| role.permissions().iter().count()).or(*role);
    let within = names.permissions.as_deref().map_or(Permissions::all(), |name| {
        let said = texts(find(claims, name));
        let words = said.iter().flat_map(|text| text.split_ascii_whitespace());
        words.take(MOST).map(permissions).fold(Permissions::NONE, Permissions::or)
    });
    Subject { id: id(issuer, name), organization, role, within }
}

/// Always the same for the same subject of the same issuer.
fn id(issuer: &str, subject: &str) -> SubjectId {
    let mut hash = Sha256::new();
    for text in [issuer, subject] {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    let digest = hash.finish();
    let half = digest.first_chunk().expect("a SHA-256 is longer");
    SubjectId::fixed(u128::from_be_bytes(*half))
}

/// The claim of that name, or where its dots lead.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let along = || {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
    };
    claims.get(name).or_else(along)
}

/// A text, or several.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().take(MOST).filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What a word is good for; nothing, where it means nothing here.
fn permissions(word: &str) -> Permissions {
    let granted = word.parse::<Grant>().map(|grant| grant.permissions());
    granted.unwrap_or_else(|_| TokenScopes::read(word).permissions())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Permission;

    fn of(names: Value, claims: Value) -> Subject {
        let names: Names = serde_json::from_value(names).expect("names");
        let roles = json!({"Domain Admins": "admin", "dev": "user", "guest": "viewer"});
        let settings = json!({"issuer": "https://id.test", "claims": names, "roles": roles,
                              "organization": "acme"});
        let settings: Settings = serde_json::from_value(settings).expect("settings");
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        subject(&settings, "ana", &claims)
    }

    fn role(claims: Value, name: &str) -> Option<Role> {
        of(json!({"role": name}), claims).role
    }

    #[test]
    fn the_strongest_of_several_roles_counts_and_none_is_made_up() {
        assert_eq!(role(json!({"g": ["dev", "Domain Admins", 7, "x"]}), "g"), Some(Role::Admin));
        assert_eq!(role(json!({"g": "dev"}), "g"), Some(Role::User));
        assert_eq!(role(json!({"g": "dev guest"}), "g"), None);
        assert_eq!(role(json!({"g": ["admin"]}), "g"), None);
        assert_eq!(role(json!({"g": {"dev": true}}), "g"), None);
        assert_eq!(role(json!({}), "g"), None);
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_along_its_dots() {
        let nested = json!({"realm_access": {"roles": ["dev"]}});
        assert_eq!(role(nested, "realm_access.roles"), Some(Role::User));
        let url = json!({"https://acme.test/groups": ["guest"]});
        assert_eq!(role(url, "https://acme.test/groups"), Some(Role::Viewer));
        assert_eq!(role(json!({"a": "dev"}), "a.b.c"), None);
    }

    #[test]
    fn what_the_token_is_good_for_is_said_in_permissions_or_scopes() {
        let within = |claims| of(json!({"permissions": "scope"}), claims).within;

        assert_eq!(within(json!({"scope": "openid tools:call"})).names(), ["tools:call"]);
        assert!(within(json!({"scope": ["mcp:read", "email"]})).has(Permission::ItemsList));
        assert_eq!(within(json!({})), Permissions::NONE);
        assert_eq!(of(json!({}), json!({"scope": "tools:call"})).within, Permissions::all());
    }

    #[test]
    fn an_organization_that_is_asked_for_and_not_said_is_none() {
        let organization = |names, claims| of(names, claims).organization;

        assert_eq!(organization(json!({}), json!({"org": "x"})).as_deref(), Some("acme"));
        let asked = json!({"organization": "org"});
        assert_eq!(organization(asked.clone(), json!({"org": "x"})).as_deref(), Some("x"));
        assert_eq!(organization(asked, json!({})).as_deref(), Some(""));
    }

    #[test]
    fn a_subject_is_its_issuers_alone() {
        assert_eq!(id("a", "b"), id("a", "b"));
        let others = [id("a", "c"), id("b", "b"), id("ab", ""), id("", "ab")];
        assert!(others.iter().all(|other| *other != id("a", "b")));
    }
}
