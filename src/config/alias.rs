//! Environment variables by other names: the documented ones of predecessors, from one table.

/// What a variable means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The value of a setting.
    Setting(&'static str),
    /// Seconds, for a setting in milliseconds.
    Seconds(&'static str),
    /// A log level in the words of Python's logging.
    Level(&'static str),
    /// The address to listen on, without its port.
    Host,
    /// The port to listen on.
    Port,
    /// Nothing: what it was for is not there.
    Unused(&'static str),
}

use Meaning::{Host, Level, Port, Seconds, Setting, Unused};

/// The documented names.
pub(super) const ALIASES: &[(&str, Meaning)] = &[
    ("MCP_GATEWAY_HOST", Host),
    ("MCP_GATEWAY_PORT", Port),
    ("MCP_GATEWAY_REGISTRY_FILE", Unused("register servers with 'tollhouse register'")),
    ("MCP_GATEWAY_HEALTH_INTERVAL", Unused("servers are asked when they are needed")),
    ("MCP_GATEWAY_HEALTH_TIMEOUT", Seconds("catalog.ask_ms")),
    ("MCP_GATEWAY_MAX_CONCURRENT_CHECKS", Setting("catalog.asked_at_once")),
    ("MCP_GATEWAY_DEFAULT_STRATEGY", Unused("each server has one instance")),
    ("MCP_GATEWAY_MAX_RETRIES", Setting("pipeline.max_attempts")),
    ("MCP_GATEWAY_REQUEST_TIMEOUT", Setting("pipeline.timeout_seconds")),
    ("MCP_GATEWAY_LOG_LEVEL", Level("observe.level")),
    ("MCP_GATEWAY_LOG_FORMAT", Setting("observe.format")),
    ("GATEWAY_AUTH_ENABLED", Setting("access.enabled")),
    ("GATEWAY_SECRET_KEY", Setting("access.tokens.secret_key")),
    ("GATEWAY_ACCESS_TOKEN_EXPIRE_MINUTES", Setting("access.tokens.minutes")),
    ("GATEWAY_ADMIN_PASSWORD", Unused("claim the gateway with 'tollhouse setup'")),
    ("DATABASE_URL", Unused("all state is in the data folder")),
];

/// Variables of our own prefix that are no settings: they say whom the command line speaks to.
pub(super) const NO_SETTINGS: &[&str] = &["TOLLHOUSE_URL", "TOLLHOUSE_KEY"];

impl Meaning {
    /// What the variable says in our own words.
    pub(super) fn translate(self, text: &str) -> String {
        let text = text.trim();
        match self {
            Seconds(_) => milliseconds(text).unwrap_or_else(|| text.to_owned()),
            Level(_) => match text.to_ascii_lowercase().as_str() {
                "warning" => "warn".into(),
                "critical" | "fatal" => "error".into(),
                "notset" => "trace".into(),
                lower => lower.to_owned(),
            },
            _ => text.to_owned(),
        }
    }
}

/// Seconds, perhaps with a fraction, in whole milliseconds.
fn milliseconds(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    Some(whole.checked_mul(1_000)?.checked_add(fraction)?.to_string())
}
