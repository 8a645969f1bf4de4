//! Routes: which HTTP requests are carried to which server, and what changes on the way.

mod form;

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};

pub use form::HttpRouteForm;

use super::{Annotations, OrganizationId, RouteId, Slug, Timestamp};

/// A place under `/proxy/{name}`, and rules that say where the requests go that come there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRoute {
    /// Its id.
    pub id: RouteId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Its name, unique in the organization.
    pub name: Slug,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Where else it begins, such as `/weather`: at a path that the gateway has no use for itself.
    #[serde(default)]
    pub mount: Option<String>,
    /// The first of these that matches decides. Never empty.
    pub rules: Vec<RouteRule>,
    /// Whether it is there at all.
    pub is_active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Which requests go where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// Which requests; all, where nothing is said.
    #[serde(default, rename = "match")]
    pub when: RouteMatch,
    /// The server they go to: one that is plain HTTP, or one that speaks MCP.
    pub server: Slug,
    /// What changes of a request.
    #[serde(default)]
    pub request: RequestChange,
    /// What changes of the response.
    #[serde(default)]
    pub response: ResponseChange,
    /// How long the response may take to begin, and then to go on, in seconds; none leaves it to
    /// the server.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
}

/// Which requests a rule is for: those that fit all that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteMatch {
    /// Host names, such as `api.example.com` or `*.example.com`.
    pub hosts: Vec<String>,
    /// Beginnings of the path behind the route's own: `/v1` is that of `/v1` and `/v1/x`, not of
    /// `/v1x`.
    pub paths: Vec<String>,
    /// HTTP methods.
    pub methods: Vec<String>,
    /// Headers and what they say; `*` where they need only be there.
    pub headers: BTreeMap<String, String>,
}

/// Headers that are set and left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderChange {
    /// Set, in place of what was said.
    pub set: BTreeMap<String, String>,
    /// Left out.
    pub remove: Vec<String>,
}

/// A beginning of a path that becomes another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathChange {
    /// What it begins with.
    #[serde(default = "root")]
    pub from: String,
    /// What stands there instead.
    pub to: String,
}

fn root() -> String {
    "/".to_owned()
}

/// What changes of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestChange {
    /// Of its path.
    pub path: Option<PathChange>,
    /// Of its headers.
    pub headers: HeaderChange,
    /// Of its body, where that is JSON.
    pub json: Option<Projection>,
}

/// What changes of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseChange {
    /// Of its headers.
    pub headers: HeaderChange,
    /// Of its body, where that is JSON.
    pub json: Option<Projection>,
}

/// What is taken of JSON: JSON pointers into it (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Projection {
    /// One part, in place of the whole.
    Part(String),
    /// An object of these parts, each under a name; what is not there is left out.
    Members(BTreeMap<String, String>),
}

/// A request, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// The host it names, without a port.
    pub host: Option<&'a str>,
    /// The path behind the route's own.
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl HttpRoute {
    /// Stands before the name of a route of the settings file, where others have their id.
    pub const FILE_PREFIX: &str = "file:";

    /// The first rule for a request, and its place among them.
    #[must_use]
    pub fn rule(&self, sought: &Sought<'_>) -> Option<usize> {
        self.rules.iter().position(|rule| rule.when.fits(sought))
    }
}

impl RouteMatch {
    /// Whether a request fits all that is said.
    #[must_use]
    pub fn fits(&self, sought: &Sought<'_>) -> bool {
        let any = |wanted: &[String], fits: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|one| fits(one))
        };
        any(&self.hosts, &|host| sought.host.is_some_and(|said| is_host(host, said)))
            && any(&self.paths, &|path| behind(path, sought.path).is_some())
            && any(&self.methods, &|method| sought.method.as_str() == method)
            && self.headers.iter().all(|(name, wanted)| {
                let mut said = sought.headers.get_all(name).iter();
                said.any(|value| wanted == "*" || value.as_bytes() == wanted.as_bytes())
            })
    }
}

/// Whether a host is meant, which may be any below another.
fn is_host(wanted: &str, said: &str) -> bool {
    let above = wanted.strip_prefix('*').filter(|above| said.len() > above.len());
    match above {
        Some(above) => said[said.len() - above.len()..].eq_ignore_ascii_case(above),
        None => wanted.eq_ignore_ascii_case(said),
    }
}

/// What stands behind a beginning of a path, which ends where a segment does.
#[must_use]
pub fn behind<'p>(beginning: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(beginning.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

impl RequestChange {
    /// The path as it is asked for at the server.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        let changed = self.path.as_ref().and_then(|change| {
            Some(format!("{}{}", change.to.trim_end_matches('/'), behind(&change.from, path)?))
        });
        let path = changed.unwrap_or_else(|| path.to_owned());
        if path.is_empty() { root() } else { path }
    }
}

/// How a request of this method behaves, in the words of tools: as HTTP defines it (RFC 9110, 9.2).
#[must_use]
pub fn behaviour(method: &Method) -> Annotations {
    Annotations {
        read_only_hint: Some(method.is_safe()),
        destructive_hint: Some(*method == Method::DELETE),
        idempotent_hint: Some(method.is_idempotent()),
        ..Annotations::default()
    }
}

/// A path without what is written in two ways, so that rules and servers read the same: what needs
/// no percent-encoding bears none. None where it leads upwards, or is no plain path.
#[must_use]
pub fn plain_path(path: &str) -> Option<String> {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, coded) = rest.split_at(at);
        let byte = u8::from_str_radix(coded.get(1..3)?, 16).ok()?;
        plain.push_str(before);
        match char::from(byte) {
            letter if letter.is_ascii_alphanumeric() || "-._~".contains(letter) => {
                plain.push(letter);
            }
            // Some servers read these as a step, or as the end.
            '/' | '\\' | '\0' => return None,
            _ => plain.push_str(&coded[..3].to_ascii_uppercase()),
        }
        rest = &coded[3..];
    }
    plain.push_str(rest);
    let leads_upwards = plain.split('/').any(|segment| segment == "." || segment == "..");
    let is_plain = !leads_upwards && !plain.contains("//") && !plain.contains('\\');
    is_plain.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(when: serde_json::Value, method: &str, host: &str, path: &str) -> bool {
        let when: RouteMatch = serde_json::from_value(when).expect("a match");
        let mut headers = HeaderMap::new();
        headers.insert("x-tier", "gold".parse().expect("a value"));
        let method = method.parse().expect("a method");
        when.fits(&Sought { host: Some(host), path, method: &method, headers: &headers })
    }

    #[test]
    fn a_rule_is_for_requests_that_fit_all_it_says() {
        use serde_json::json;
        for (when, path, is_for) in [
            (json!({}), "/", true),
            (json!({"paths": ["/v1"]}), "/v1", true),
            (json!({"paths": ["/v1/"]}), "/v1/x", true),
            (json!({"paths": ["/v1"]}), "/v1x", false),
            (json!({"paths": ["/"]}), "/v1x", true),
            (json!({"paths": ["/v2", "/v1"]}), "/v1/x", true),
            (json!({"methods": ["POST"]}), "/", false),
            (json!({"methods": ["POST", "GET"]}), "/", true),
            (json!({"hosts": ["API.example.com"]}), "/", true),
            (json!({"hosts": ["*.example.com"]}), "/", true),
            (json!({"hosts": ["*.api.example.com"]}), "/", false),
            (json!({"headers": {"X-Tier": "gold"}}), "/", true),
            (json!({"headers": {"x-tier": "*"}}), "/", true),
            (json!({"headers": {"x-tier": "lead"}}), "/", false),
            (json!({"headers": {"x-other": "*"}}), "/", false),
            (json!({"paths": ["/v1"], "methods": ["POST"]}), "/v1", false),
        ] {
            assert_eq!(fits(when.clone(), "GET", "api.example.com", path), is_for, "{when} {path}");
        }
    }

    #[test]
    fn a_beginning_of_a_path_becomes_another() {
        let changed = |from: &str, to: &str, path: &str| {
            let path_change = PathChange { from: from.to_owned(), to: to.to_owned() };
            RequestChange { path: Some(path_change), ..RequestChange::default() }.path(path)
        };
        for (from, to, path, becomes) in [
            ("/", "/api", "/v1/x", "/api/v1/x"),
            ("/v1", "/api/v2/", "/v1/x", "/api/v2/x"),
            ("/v1", "/", "/v1", "/"),
            ("/v1", "/", "/v1/", "/"),
            ("/v1", "/v2", "/v1x", "/v1x"),
        ] {
            assert_eq!(changed(from, to, path), becomes, "{from} {to} {path}");
        }
        assert_eq!(RequestChange::default().path(""), "/");
    }

    #[test]
    fn a_path_is_written_in_one_way() {
        for (path, plain) in [
            ("/a/b", Some("/a/b")),
            ("/%61dmin/%7eana", Some("/admin/~ana")),
            ("/a%20b%c3%a4", Some("/a%20b%C3%A4")),
            ("/a/../b", None),
            ("/a/%2e%2e/b", None),
            ("/a/%2E", None),
            ("/a%2fb", None),
            ("/a%5cb", None),
            ("/a%00", None),
            ("/a%", None),
            ("/a%zz", None),
            ("//a", None),
            ("/a\\b", None),
            ("/a/..b/c.", Some("/a/..b/c.")),
        ] {
            assert_eq!(plain_path(path).as_deref(), plain, "{path}");
        }
    }
}
