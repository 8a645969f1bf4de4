//! Routes as people write them: to make one, to change one, or in the settings file.

use http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use super::{
    HeaderChange, HttpRoute, PathChange, Projection, RequestChange, ResponseChange, RouteMatch,
    RouteRule, plain_path,
};
use crate::domain::{Misfit, OrganizationId, RouteId, Slug, Timestamp};

const DESCRIPTION_LIMIT: usize = 1_000;
/// Rules of one route.
const RULES: usize = 50;
/// Hosts, paths, methods or headers of one rule.
const ENTRIES: usize = 50;
/// Letters of one of them.
const TEXT_LIMIT: usize = 1_000;
const LONGEST_SECONDS: u32 = 3_600;

/// First segments of paths that the gateway has a use for itself.
const TAKEN: [&str; 26] = [
    "",
    ".well-known",
    "admin",
    "api",
    "assets",
    "auth",
    "favicon.ico",
    "federation",
    "gateway",
    "health",
    "mcp",
    "messages",
    "metrics",
    "oauth",
    "openapi.json",
    "policies",
    "protocol",
    "proxy",
    "ready",
    "robots.txt",
    "rpc",
    "servers",
    "sse",
    "stdio",
    "ui",
    "ws",
];

/// Headers that say how a message is framed, or between whom.
const FRAMING: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// Headers of requests that say who asks.
const WHO: [&str; 6] = [
    "authorization",
    "cookie",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
/// Headers of responses that keep what comes from a server from acting as the gateway's own page.
const WALLS: [&str; 6] = [
    "cache-control",
    "clear-site-data",
    "content-security-policy",
    "service-worker-allowed",
    "set-cookie",
    "x-content-type-options",
];

/// A route as people write it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpRouteForm {
    /// What it is called in paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Where else it begins; empty for nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    mount: Option<String>,
    /// Which requests go where.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<RouteRule>>,
    /// The server to which all go, where there are no rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Slug>,
    /// Whether it is there at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_active: Option<bool>,
}

impl HttpRoute {
    /// The headers of a request or response that belong to one connection, and go no further.
    #[must_use]
    pub fn is_framing(name: &HeaderName) -> bool {
        FRAMING.contains(&name.as_str())
    }

    /// The headers with which a client says to the gateway who it is, and that are nobody else's
    /// to know.
    #[must_use]
    pub fn is_about_the_caller(name: &HeaderName) -> bool {
        WHO.contains(&name.as_str())
    }

    /// The headers of a response that a server has no say in.
    #[must_use]
    pub fn is_wall(name: &HeaderName) -> bool {
        WALLS.contains(&name.as_str()) && name.as_str() != "cache-control"
    }

    /// Whether the gateway has a use for a path itself.
    #[must_use]
    pub fn is_taken(path: &str) -> bool {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        TAKEN.contains(&first)
    }

    /// A route that says nothing yet.
    fn blank(organization: OrganizationId, id: RouteId, name: Slug, now: Timestamp) -> Self {
        Self {
            id,
            organization,
            name,
            description: String::new(),
            mount: None,
            rules: Vec::new(),
            is_active: true,
            created_at: now,
            updated_at: now,
        }
    }
}

impl HttpRouteForm {
    /// The new route that is described here.
    pub fn of(
        &self,
        organization: OrganizationId,
        id: RouteId,
        now: Timestamp,
    ) -> Result<HttpRoute, Misfit> {
        let name = self.name.as_deref().unwrap_or_default();
        self.over(HttpRoute::blank(organization, id, slug(name)?, now))
    }

    /// The route with what is said here in place of what it said.
    pub fn over(&self, before: HttpRoute) -> Result<HttpRoute, Misfit> {
        let name = self.name.as_deref().map(slug).transpose()?.unwrap_or(before.name);
        let description = self.description.clone().unwrap_or(before.description);
        if description.chars().count() > DESCRIPTION_LIMIT {
            return Err(Misfit::new("/description", "it has more than 1000 characters"));
        }
        let mount = match self.mount.as_deref() {
            None => before.mount,
            Some("") => None,
            Some(path) => Some(mount(path)?),
        };
        let rules = match (&self.rules, &self.server) {
            (Some(_), Some(_)) => {
                return Err(Misfit::new("/server", "give either rules, or one server"));
            }
            (Some(rules), None) => rules.clone(),
            (None, Some(server)) => vec![RouteRule::to(server.clone())],
            (None, None) => before.rules,
        };
        if rules.is_empty() || rules.len() > RULES {
            let reason = format!("say where requests go: one server, or 1 to {RULES} rules");
            return Err(Misfit::new("/rules", reason));
        }
        for (index, rule) in rules.iter().enumerate() {
            rule.check().map_err(|wrong| wrong.within(&format!("/rules/{index}")))?;
        }
        let is_active = self.is_active.unwrap_or(before.is_active);
        Ok(HttpRoute { name, description, mount, rules, is_active, ..before })
    }
}

impl RouteRule {
    /// A rule by which all requests go to a server as they are.
    #[must_use]
    pub fn to(server: Slug) -> Self {
        Self {
            when: RouteMatch::default(),
            server,
            request: RequestChange::default(),
            response: ResponseChange::default(),
            timeout_seconds: None,
        }
    }

    /// Whether requests go on as they come, but for what never does.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        let is_same = self.request == RequestChange::default();
        is_same && self.response == ResponseChange::default()
    }

    fn check(&self) -> Result<(), Misfit> {
        self.when.check().map_err(|wrong| wrong.within("/match"))?;
        if let Some(PathChange { from, to }) = &self.request.path {
            path(from).map_err(|reason| Misfit::new("/request/path/from", reason))?;
            path(to).map_err(|reason| Misfit::new("/request/path/to", reason))?;
        }
        let never = |of: &'static [&'static str]| move |name: &str| of.contains(&name);
        let (who, walls) = (never(&WHO), never(&WALLS));
        let by_auth = "say it with the server's auth, where it is sealed";
        self.request.headers.check(&who, by_auth).map_err(|it| it.within("/request/headers"))?;
        let own = "the gateway says it itself";
        self.response.headers.check(&walls, own).map_err(|it| it.within("/response/headers"))?;
        for (at, projection) in
            [("/request/json", &self.request.json), ("/response/json", &self.response.json)]
        {
            projection.iter().try_for_each(Projection::check).map_err(|it| it.within(at))?;
        }
        if self.timeout_seconds.is_some_and(|it| !(1..=LONGEST_SECONDS).contains(&it)) {
            let reason = format!("it must lie between 1 and {LONGEST_SECONDS}");
            return Err(Misfit::new("/timeout_seconds", reason));
        }
        Ok(())
    }
}

impl RouteMatch {
    fn check(&self) -> Result<(), Misfit> {
        let sizes = [
            ("/hosts", self.hosts.len()),
            ("/paths", self.paths.len()),
            ("/methods", self.methods.len()),
            ("/headers", self.headers.len()),
        ];
        if let Some((at, _)) = sizes.iter().find(|(_, size)| *size > ENTRIES) {
            return Err(Misfit::new(*at, format!("there are more than {ENTRIES}")));
        }
        for (index, host) in self.hosts.iter().enumerate() {
            let bare = host.strip_prefix("*.").unwrap_or(host);
            let is_part =
                |letter: char| letter.is_ascii_alphanumeric() || "-._:[]".contains(letter);
            if bare.is_empty() || bare.len() > TEXT_LIMIT || !bare.chars().all(is_part) {
                let reason = "it is no host, such as api.example.com or *.example.com";
                return Err(Misfit::new(format!("/hosts/{index}"), reason));
            }
        }
        for (index, text) in self.paths.iter().enumerate() {
            path(text).map_err(|reason| Misfit::new(format!("/paths/{index}"), reason))?;
        }
        for (index, method) in self.methods.iter().enumerate() {
            let is_method = Method::from_bytes(method.as_bytes()).is_ok();
            if !is_method || method.chars().any(|letter| letter.is_ascii_lowercase()) {
                let reason = "it is no method, such as GET; methods are written in capitals";
                return Err(Misfit::new(format!("/methods/{index}"), reason));
            }
        }
        self.headers.iter().try_for_each(|(name, value)| {
            header(name, value).map_err(|reason| Misfit::new(format!("/headers/{name}"), reason))
        })
    }
}

impl HeaderChange {
    fn check(&self, is_never: &dyn Fn(&str) -> bool, why: &str) -> Result<(), Misfit> {
        if self.set.len() + self.remove.len() > ENTRIES {
            return Err(Misfit::new("", format!("there are more than {ENTRIES}")));
        }
        for (name, value) in &self.set {
            let at = format!("/set/{name}");
            header(name, value).map_err(|reason| Misfit::new(&at, reason))?;
            let lower = name.to_ascii_lowercase();
            if FRAMING.contains(&lower.as_str()) || is_never(&lower) {
                return Err(Misfit::new(at, format!("it cannot be set here; {why}")));
            }
        }
        for (index, name) in self.remove.iter().enumerate() {
            let reason = header(name, "").err();
            let at = || format!("/remove/{index}");
            reason.map_or(Ok(()), |reason| Err(Misfit::new(at(), reason)))?;
        }
        Ok(())
    }
}

impl Projection {
    fn check(&self) -> Result<(), Misfit> {
        let pointer = |at: String, text: &str| {
            let is_pointer = text.is_empty() || text.starts_with('/');
            if is_pointer && text.len() <= TEXT_LIMIT {
                return Ok(());
            }
            Err(Misfit::new(at, "it is no JSON pointer, such as /data/items/0"))
        };
        match self {
            Self::Part(part) => pointer(String::new(), part),
            Self::Members(parts) if parts.is_empty() || parts.len() > ENTRIES => {
                Err(Misfit::new("", format!("it must have 1 to {ENTRIES} members")))
            }
            Self::Members(parts) => {
                parts.iter().try_for_each(|(name, part)| pointer(format!("/{name}"), part))
            }
        }
    }
}

fn slug(text: &str) -> Result<Slug, Misfit> {
    text.trim().parse().map_err(|wrong| Misfit::new("/name", format!("{wrong}")))
}

fn mount(text: &str) -> Result<String, Misfit> {
    let wrong = |reason: &str| Misfit::new("/mount", reason);
    path(text).map_err(wrong)?;
    let text = text.trim_end_matches('/');
    if HttpRoute::is_taken(text) {
        return Err(wrong("the gateway has a use for this path itself"));
    }
    Ok(text.to_owned())
}

fn path(text: &str) -> Result<(), &'static str> {
    let is_plain = plain_path(text).is_some_and(|plain| plain == text);
    let is_path = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#*".contains(&byte));
    if text.starts_with('/') && text.len() <= TEXT_LIMIT && is_plain && is_path {
        return Ok(());
    }
    Err("it is no plain path, such as /v1/items")
}

fn header(name: &str, value: &str) -> Result<(), &'static str> {
    let is_header = name.len() <= TEXT_LIMIT && name.parse::<HeaderName>().is_ok();
    if !is_header {
        return Err("it is no name of a header");
    }
    match HeaderValue::from_str(value) {
        Ok(_) if value.len() <= TEXT_LIMIT => Ok(()),
        _ => Err("it cannot stand in a header"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(form: Value) -> Result<HttpRoute, String> {
        let form: HttpRouteForm = serde_json::from_value(form).map_err(|it| it.to_string())?;
        let (organization, id) = (OrganizationId::fixed(1), RouteId::fixed(1));
        form.of(organization, id, Timestamp::from_ms(0)).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn what_is_not_said_stays() {
        let route = read(json!({"name": "api", "server": "wiki", "mount": "/wiki/"}));
        let route = route.expect("a route");
        assert_eq!(route.mount.as_deref(), Some("/wiki"));
        assert!(route.rules[0].changes_nothing());

        let change = json!({"description": "read it", "is_active": false});
        let change: HttpRouteForm = serde_json::from_value(change).expect("a form");
        let changed = change.over(route.clone()).expect("a route");
        assert_eq!((changed.mount, changed.rules), (route.mount, route.rules));
        assert!(!changed.is_active);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let rule = |rule: Value| json!({"name": "a", "rules": [rule]});
        for (form, said) in [
            (json!({"server": "x"}), "/name: "),
            (json!({"name": "a"}), "/rules: say where requests go"),
            (json!({"name": "a", "rules": []}), "/rules: say where requests go"),
            (json!({"name": "a", "server": "x", "rules": []}), "/server: give either"),
            (json!({"name": "a", "server": "x", "mount": "/mcp/x"}), "/mount: the gateway has"),
            (json!({"name": "a", "server": "x", "mount": "/"}), "/mount: the gateway has"),
            (json!({"name": "a", "server": "x", "mount": "x"}), "/mount: it is no plain path"),
            (rule(json!({"server": "x", "match": {"paths": ["v1"]}})), "/rules/0/match/paths/0: "),
            (rule(json!({"server": "x", "match": {"paths": ["/a/../b"]}})), "/paths/0: "),
            (rule(json!({"server": "x", "match": {"methods": ["get"]}})), "/match/methods/0: "),
            (rule(json!({"server": "x", "match": {"hosts": ["a/b"]}})), "/match/hosts/0: "),
            (rule(json!({"server": "x", "match": {"headers": {"a b": "c"}}})), "/headers/a b: "),
            (
                rule(json!({"server": "x", "request": {"headers": {"set": {"Cookie": "a"}}}})),
                "/rules/0/request/headers/set/Cookie: it cannot be set here; say it with",
            ),
            (
                rule(json!({"server": "x", "response": {"headers": {"set": {"Set-Cookie": "a"}}}})),
                "/rules/0/response/headers/set/Set-Cookie: it cannot be set here",
            ),
            (
                rule(json!({"server": "x", "response": {"json": "data"}})),
                "/rules/0/response/json: it is no JSON pointer",
            ),
            (rule(json!({"server": "x", "timeout_seconds": 0})), "/rules/0/timeout_seconds: "),
            (rule(json!({"server": "x", "moon": 1})), "unknown field `moon`"),
        ] {
            let wrong = read(form.clone()).expect_err("wrong");
            assert!(wrong.contains(said), "{form}: {wrong}");
        }
    }
}
