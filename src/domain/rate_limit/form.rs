//! Rate limits as people write them: to make one, to change one, or in the settings file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Algorithm, Dimension, LimitScope, RateLimit, Window};
use crate::domain::{Actor, Misfit, OrganizationId, RateLimitId, Timestamp};

const NAME_LIMIT: usize = 100;
const DESCRIPTION_LIMIT: usize = 1_000;
/// Windows of one limit: a second, a minute, an hour, a day.
const WINDOWS: usize = 4;
/// Values that one dimension may have.
const VALUES: usize = 100;

/// One of something or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// How long a window is: seconds, or a number with its unit, such as `1m`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Span {
    Seconds(u32),
    Text(String),
}

impl Span {
    fn seconds(&self) -> Option<u32> {
        match self {
            Self::Seconds(seconds) => Some(*seconds),
            Self::Text(text) => {
                let text = text.trim();
                let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
                let unit = match text[at..].trim() {
                    "s" | "" => 1,
                    "m" | "min" => 60,
                    "h" => 3_600,
                    "d" => 86_400,
                    _ => return None,
                };
                text[..at].parse::<u32>().ok()?.checked_mul(unit)
            }
        }
    }
}

/// So many calls in so long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quota {
    limit: u32,
    window: Span,
}

/// A rate limit as people write it. Predecessors' members say the same in other words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitForm {
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// By what calls are counted, such as `user` or `user+tool`.
    #[serde(skip_serializing_if = "Option::is_none", alias = "type")]
    scope: Option<OneOrMany>,
    /// The only value of its one dimension that is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_id: Option<String>,
    /// Which calls are counted.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    only: Option<BTreeMap<String, OneOrMany>>,
    /// How they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<Algorithm>,
    /// How many may pass in how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Vec<Quota>>,
    /// The same, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", alias = "window_seconds")]
    window: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_hour: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_day: Option<u32>,
    /// Tokens that a bucket holds.
    #[serde(skip_serializing_if = "Option::is_none", alias = "burst_limit")]
    burst: Option<u32>,
    /// Whether it holds at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_active: Option<bool>,
}

impl RateLimit {
    /// Stands before the name of a limit of the settings file, where others have their id.
    pub const FILE_PREFIX: &str = "file:";

    /// A rate limit that says nothing yet.
    #[must_use]
    pub fn blank(
        organization: OrganizationId,
        id: RateLimitId,
        created_by: Actor,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            organization,
            name: String::new(),
            description: String::new(),
            scope: LimitScope::default(),
            only: BTreeMap::new(),
            algorithm: Algorithm::default(),
            windows: Vec::new(),
            burst: None,
            is_active: true,
            created_by,
            created_at: now,
            updated_at: now,
        }
    }

    /// A name out of any text that may stand in headers.
    #[must_use]
    pub fn plain_name(text: &str) -> String {
        let plain: String =
            text.chars().filter(|letter| is_plain(*letter)).take(NAME_LIMIT).collect();
        let plain = plain.trim();
        if plain.is_empty() { "limit".to_owned() } else { plain.to_owned() }
    }
}

impl RateLimitForm {
    /// The limit with what is said here in place of what it said.
    pub fn over(&self, before: RateLimit) -> Result<RateLimit, Misfit> {
        let scope = match &self.scope {
            None => before.scope,
            Some(said) => scope(said.all())?,
        };
        let mut only = match &self.only {
            None => before.only,
            Some(said) => only(said)?,
        };
        if let Some(value) = &self.scope_id {
            let [dimension] = scope.dimensions() else {
                return Err(Misfit::new("/scope_id", "it needs a scope of one part; use match"));
            };
            only.insert(*dimension, vec![value.clone()]);
        }
        let algorithm = self.algorithm.unwrap_or(before.algorithm);
        let windows = self.windows()?.unwrap_or(before.windows);
        if windows.is_empty() {
            return Err(Misfit::new("/limit", "say how many calls may pass, and in which window"));
        }
        let description = self.description.clone().unwrap_or(before.description);
        if description.chars().count() > DESCRIPTION_LIMIT {
            return Err(Misfit::new("/description", "it has more than 1000 characters"));
        }
        Ok(RateLimit {
            name: name(self.name.as_deref().unwrap_or(&before.name))?,
            description,
            scope,
            only,
            algorithm,
            windows,
            burst: burst(self.burst, before.burst, algorithm)?,
            is_active: self.is_active.unwrap_or(before.is_active),
            ..before
        })
    }

    fn windows(&self) -> Result<Option<Vec<Window>>, Misfit> {
        let mut windows = Vec::new();
        let read = |at: String, span: &Span| {
            let seconds = span.seconds().filter(|it| (1..=Window::LONGEST).contains(it));
            let wrong = "it must lie between 1 s and 31d, such as 30s, 1m, 1h or 1d";
            seconds.ok_or_else(|| Misfit::new(at, wrong))
        };
        for (index, quota) in self.limits.iter().flatten().enumerate() {
            let seconds = read(format!("/limits/{index}/window"), &quota.window)?;
            windows.push((format!("/limits/{index}/limit"), quota.limit, seconds));
        }
        match (self.limit, &self.window) {
            (Some(limit), window) => {
                let window = window.as_ref().unwrap_or(&Span::Seconds(60));
                windows.push(("/limit".to_owned(), limit, read("/window".to_owned(), window)?));
            }
            (None, Some(_)) => return Err(Misfit::new("/limit", "a window needs a limit")),
            (None, None) => {}
        }
        for (name, limit, seconds) in [
            ("/requests_per_minute", self.requests_per_minute, 60),
            ("/requests_per_hour", self.requests_per_hour, 3_600),
            ("/requests_per_day", self.requests_per_day, 86_400),
        ] {
            windows.extend(limit.map(|limit| (name.to_owned(), limit, seconds)));
        }
        if windows.len() > WINDOWS {
            return Err(Misfit::new("/limits", format!("there are more than {WINDOWS} windows")));
        }
        windows.sort_by_key(|(_, _, seconds)| *seconds);
        for (at, limit, _) in &windows {
            if !(1..=Window::MOST).contains(limit) {
                let reason = format!("it must lie between 1 and {}; a policy denies", Window::MOST);
                return Err(Misfit::new(at, reason));
            }
        }
        for pair in windows.windows(2) {
            let ((_, less, short), (at, more, long)) = (&pair[0], &pair[1]);
            if short == long {
                return Err(Misfit::new(at, format!("there is a limit for {long} s already")));
            }
            if more < less {
                let reason = format!("it is less than the {less} that may pass in {short} s");
                return Err(Misfit::new(at, reason));
            }
        }
        let windows = windows.into_iter().map(|(_, limit, seconds)| Window { limit, seconds });
        let windows: Vec<Window> = windows.collect();
        Ok((!windows.is_empty()).then_some(windows))
    }
}

fn scope(said: &[String]) -> Result<LimitScope, Misfit> {
    let scopes = said.iter().map(|text| text.parse::<LimitScope>());
    let scopes = scopes.collect::<Result<Vec<_>, _>>();
    let scopes = scopes.map_err(|unknown| Misfit::new("/scope", unknown.to_string()))?;
    Ok(LimitScope::of(scopes.iter().flat_map(|scope| scope.dimensions().to_vec()).collect()))
}

fn only(said: &BTreeMap<String, OneOrMany>) -> Result<BTreeMap<Dimension, Vec<String>>, Misfit> {
    let mut only = BTreeMap::new();
    for (name, values) in said {
        let at = format!("/match/{name}");
        let dimension: Dimension =
            name.parse().map_err(|unknown| Misfit::new(&at, format!("{unknown}")))?;
        let values = values.all().to_vec();
        if values.is_empty() || values.len() > VALUES {
            return Err(Misfit::new(at, format!("it must have 1 to {VALUES} values")));
        }
        let is_address = |text: &String| {
            text.parse::<ipnet::IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok()
        };
        if dimension == Dimension::Ip && !values.iter().all(is_address) {
            return Err(Misfit::new(at, "it must be an address or a network, such as 10.0.0.0/8"));
        }
        only.insert(dimension, values);
    }
    Ok(only)
}

fn burst(
    said: Option<u32>,
    before: Option<u32>,
    algorithm: Algorithm,
) -> Result<Option<u32>, Misfit> {
    match said {
        Some(_) if algorithm != Algorithm::TokenBucket => {
            Err(Misfit::new("/burst", "only a token_bucket has one"))
        }
        Some(burst) if !(1..=Window::MOST).contains(&burst) => {
            Err(Misfit::new("/burst", format!("it must lie between 1 and {}", Window::MOST)))
        }
        Some(burst) => Ok(Some(burst)),
        None => Ok(before.filter(|_| algorithm == Algorithm::TokenBucket)),
    }
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || " -_.:/".contains(letter)
}

/// It stands in headers, between quotation marks.
fn name(text: &str) -> Result<String, Misfit> {
    let text = text.trim();
    if !text.is_empty()
        && text.len() <= NAME_LIMIT
        && text.chars().all(is_plain)
        && !text.starts_with(RateLimit::FILE_PREFIX)
    {
        return Ok(text.to_owned());
    }
    let reason = "it must have 1 to 100 letters, digits, spaces or - _ . : / of ASCII";
    Err(Misfit::new("/name", reason))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(json: Value) -> Result<RateLimit, String> {
        let definition: RateLimitForm =
            serde_json::from_value(json).map_err(|it| it.to_string())?;
        let (organization, id) = (OrganizationId::fixed(1), RateLimitId::fixed(1));
        let (actor, now) = (Actor::system("test"), Timestamp::from_ms(0));
        let blank = RateLimit::blank(organization, id, actor, now);
        definition.over(blank).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn ours_and_predecessors_words_say_the_same() {
        let ours = read(json!({
            "name": "a", "scope": "user", "limits": [
                {"limit": 10, "window": "1m"}, {"limit": 100, "window": 3600},
            ],
        }));
        let theirs = read(json!({
            "name": "a", "type": "user", "requests_per_hour": 100, "requests_per_minute": 10,
        }));
        assert_eq!(ours, theirs);
        let older = read(json!({
            "name": "a", "type": "organization", "scope_id": "acme", "limit": 5, "window": "1h",
            "algorithm": "token_bucket", "burst_limit": 9,
        }))
        .expect("a limit");
        assert_eq!(older.windows, [Window { limit: 5, seconds: 3_600 }]);
        assert_eq!(older.only[&Dimension::Organization], ["acme"]);
        assert_eq!((older.algorithm, older.burst), (Algorithm::TokenBucket, Some(9)));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (json, said) in [
            (json!({"name": "a"}), "/limit: say how many"),
            (json!({"limit": 5}), "/name: it must have"),
            (json!({"name": "a", "limit": 0}), "/limit: it must lie between 1 and 1000000"),
            (json!({"name": "a", "limit": 1_000_001}), "/limit: it must lie between"),
            (json!({"name": "a", "limit": 5, "window": "1w"}), "/window: it must lie between"),
            (json!({"name": "a", "limit": 5, "window": "32d"}), "/window: it must lie between"),
            (json!({"name": "a", "limit": 5, "window": "9999999d"}), "/window: it must lie"),
            (json!({"name": "a", "window": "1m"}), "/limit: a window needs a limit"),
            (json!({"name": "a", "limit": 5, "burst": 3}), "/burst: only a token_bucket"),
            (json!({"name": "a", "limit": 5, "scope": "moon"}), "/scope: \"moon\" is none of"),
            (json!({"name": "a", "limit": 5, "scope": "global", "scope_id": "x"}), "/scope_id: "),
            (json!({"name": "a", "limit": 5, "match": {"ip": "moon"}}), "/match/ip: it must be"),
            (json!({"name": "a", "limit": 5, "match": {"moon": "x"}}), "/match/moon: \"moon\""),
            (json!({"name": "a", "limit": 5, "match": {"user": []}}), "/match/user: it must have"),
            (json!({"name": "a\"b", "limit": 5}), "/name: it must have"),
            (
                json!({"name": "a", "requests_per_minute": 10, "requests_per_day": 9}),
                "/requests_per_day: it is less than the 10",
            ),
            (
                json!({"name": "a", "requests_per_minute": 10, "limit": 9, "window": "60s"}),
                "there is a limit for 60 s already",
            ),
            (json!({"name": "a", "limit": 5, "moon": 1}), "unknown field `moon`"),
        ] {
            let wrong = read(json.clone()).expect_err("wrong");
            assert!(wrong.contains(said), "{json}: {wrong}");
        }
    }
}
