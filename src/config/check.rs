//! Rules over several settings, and over what no type can say.

use std::path::Path;

use serde_json::Value;

use super::{Fault, Origin, Settings};
use crate::access;

/// Numbers for which 0 means something; every other number is a limit that 0 would close.
const ZERO_HAS_A_MEANING: &[&str] = &[
    "drain_seconds",
    "catalog.fresh_ms",
    "catalog.stale_ms",
    "catalog.last_known_seconds",
    "pipeline.hedge_ms",
    "trust.note_seconds",
];

/// The largest number that anything may be set to.
const LARGEST: u64 = 1_000_000_000_000;

/// A rule that is broken.
pub(super) struct Breach {
    /// The settings that the rule is about.
    pub(super) about: &'static [&'static str],
    /// What to say.
    pub(super) fault: Fault,
}

/// Whether this value is a limit of nothing.
pub(super) fn is_empty_limit(key: &str, value: &Value) -> bool {
    value.as_u64() == Some(0) && !ZERO_HAS_A_MEANING.contains(&key)
}

/// Whether this value is so large that it limits nothing: a terabyte, or thirty years in
/// milliseconds. What is computed with it may not overflow.
pub(super) fn is_boundless(value: &Value) -> bool {
    value.as_u64().is_some_and(|number| number > LARGEST)
}

/// All rules that are broken.
pub(super) fn together(settings: &Settings, origin: &dyn Fn(&str) -> Origin) -> Vec<Breach> {
    let rules = [
        open_to_the_network,
        bare_on_the_network,
        public_url,
        no_data,
        relative_commands,
        short_secret,
        wrong_policies,
        wrong_limits,
        wrong_routes,
        wrong_redis,
        wrong_issuers,
        wrong_sinks,
    ];
    rules.iter().filter_map(|rule| rule(settings, origin)).collect()
}

type Origins<'a> = &'a dyn Fn(&str) -> Origin;

fn open_to_the_network(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    if settings.access.enabled || settings.listen.ip().is_loopback() {
        return None;
    }
    let wrong = format!(
        "lets everybody who reaches {} (from {}) use every tool",
        settings.listen,
        origin("listen")
    );
    let fix = "listen on 127.0.0.1, or leave the check of credentials on".to_owned();
    let fault = Fault {
        key: "access.enabled".into(),
        value: Some("false".into()),
        origin: origin("access.enabled"),
        wrong,
        fix,
    };
    Some(Breach { about: &["access.enabled", "listen"], fault })
}

fn bare_on_the_network(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    if settings.i_terminate_tls_elsewhere || settings.listen.ip().is_loopback() {
        return None;
    }
    let fault = Fault {
        key: "listen".into(),
        value: Some(settings.listen.to_string()),
        origin: origin("listen"),
        wrong: "would carry keys over the network unencrypted".into(),
        fix: "listen on 127.0.0.1, or put a TLS proxy in front and set i_terminate_tls_elsewhere: true"
            .into(),
    };
    Some(Breach { about: &["listen", "i_terminate_tls_elsewhere"], fault })
}

fn public_url(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    let url = settings.public_url.as_deref()?;
    let is_plain = |url: &url::Url| {
        ["http", "https"].contains(&url.scheme())
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    if url::Url::parse(url).is_ok_and(|url| is_plain(&url)) {
        return None;
    }
    let fault = Fault {
        key: "public_url".into(),
        // It may hold a password, which is one of the things that are wrong with it.
        value: None,
        origin: origin("public_url"),
        wrong: "is not the plain URL of a site".into(),
        fix: "write for example https://tools.example.com".into(),
    };
    Some(Breach { about: &["public_url"], fault })
}

fn relative_commands(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    let commands = &settings.stdio_bridge.commands;
    let relative = commands.iter().find(|command| !Path::new(command).is_absolute())?;
    let fault = Fault {
        key: "stdio_bridge.commands".into(),
        value: Some(relative.clone()),
        origin: origin("stdio_bridge.commands"),
        wrong: "would be another program in another folder".into(),
        fix: "write absolute paths, for example /usr/bin/git".into(),
    };
    Some(Breach { about: &["stdio_bridge.commands"], fault })
}

fn short_secret(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    let secret = settings.access.tokens.secret_key.as_ref()?;
    if secret.expose().len() >= access::SHORTEST_SECRET {
        return None;
    }
    let fault = Fault {
        key: "access.tokens.secret_key".into(),
        value: None,
        origin: origin("access.tokens.secret_key"),
        wrong: format!("is shorter than {} characters", access::SHORTEST_SECRET),
        fix: "write random ones, for example those of `openssl rand -hex 32`, or leave it out"
            .into(),
    };
    Some(Breach { about: &["access.tokens.secret_key"], fault })
}

fn wrong_limits(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    const KEY: &str = "traffic.limits.rules";
    let wrong = settings.traffic.limits.check_rules().err()?;
    let fault = Fault {
        key: KEY.into(),
        value: None,
        origin: origin(KEY),
        wrong: format!("is not right at {wrong}"),
        fix: "put it right, for example {name: per-user, scope: user, limit: 100, window: 1m}"
            .into(),
    };
    Some(Breach { about: &[KEY], fault })
}

fn wrong_routes(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    const KEY: &str = "registry.routes";
    let wrong = settings.registry.check_routes().err()?;
    let fault = Fault {
        key: KEY.into(),
        value: None,
        origin: origin(KEY),
        wrong: format!("is not right at {wrong}"),
        fix: "put it right, for example {name: weather, server: weather-api}".into(),
    };
    Some(Breach { about: &[KEY], fault })
}

fn wrong_redis(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    const KEY: &str = "traffic.limits.redis.url";
    let wrong = settings.traffic.limits.redis.check().err()?;
    let fault = Fault {
        key: KEY.into(),
        // It may hold a password.
        value: None,
        origin: origin(KEY),
        wrong,
        fix: "write for example redis://:password@127.0.0.1:6379/0, or leave it out".into(),
    };
    Some(Breach { about: &[KEY], fault })
}

fn wrong_policies(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    let wrong = settings.access.check_policies().err()?;
    let fault = Fault {
        key: "access.policies".into(),
        value: None,
        origin: origin("access.policies"),
        wrong: format!("is not right at {wrong}"),
        fix: "put it right; 'tollhouse policy test --try FILE' tries a policy".into(),
    };
    Some(Breach { about: &["access.policies"], fault })
}

fn wrong_issuers(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    let misfit = settings.access.check_issuers().err()?;
    let fault = Fault {
        key: format!("access.issuers[{}]", misfit.index),
        value: Some(settings.access.issuers[misfit.index].issuer.clone()),
        origin: origin("access.issuers"),
        wrong: misfit.wrong.into(),
        fix: misfit.fix.into(),
    };
    Some(Breach { about: &["access.issuers"], fault })
}

fn wrong_sinks(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    const KEY: &str = "observe.sinks";
    let wrong = crate::observe::Sinks::check(&settings.observe.sinks).err()?;
    let fault = Fault {
        key: KEY.into(),
        value: None,
        origin: origin(KEY),
        wrong: wrong.to_string(),
        fix: "put it right, for example {type: syslog, address: \"udp://10.0.0.5:514\"}".into(),
    };
    Some(Breach { about: &[KEY], fault })
}

fn no_data(settings: &Settings, origin: Origins<'_>) -> Option<Breach> {
    if !settings.data.as_os_str().is_empty() {
        return None;
    }
    let fault = Fault {
        key: "data".into(),
        value: None,
        origin: origin("data"),
        wrong: "is unknown: neither HOME nor XDG_DATA_HOME names a folder".into(),
        fix: "give --data DIR".into(),
    };
    Some(Breach { about: &["data"], fault })
}
