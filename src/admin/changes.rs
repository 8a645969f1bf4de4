//! Changes of what servers say, and the lock of all they say.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    access::Caller,
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, one},
    },
    catalog::Locked,
    domain::{Endpoint, HttpUrl, PinKind, Server},
    problem::{Kind, Problem},
    registry,
    trust::Verdict,
};

/// The form of a lock; another number is another form.
const LOCK_VERSION: u32 = 1;

/// Lists what waits, or was rejected, of one server.
pub(super) async fn list(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let server = found(&office, &caller, &name)?;
    let (changes, total) = office.trust.changes(&server.id)?;
    let body = json!({
        "success": true,
        "data": changes,
        "count": changes.len(),
        "total": total,
        "on_change": office.trust.on_change(&server),
    });
    Ok(Json(body).into_response())
}

/// What is decided.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decision {
    /// The changes, each by its id.
    ids: Vec<String>,
}

/// Lets changes count.
pub(super) async fn approve(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
    Checked(decision): Checked<Decision>,
) -> Result<Response, Failure> {
    decide(&office, &caller, (&name, decision), Verdict::Approve).await
}

/// Has changes wait no more, without counting.
pub(super) async fn reject(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
    Checked(decision): Checked<Decision>,
) -> Result<Response, Failure> {
    decide(&office, &caller, (&name, decision), Verdict::Reject).await
}

async fn decide(
    office: &Office,
    caller: &Caller,
    (name, decision): (&str, Decision),
    verdict: Verdict,
) -> Result<Response, Failure> {
    let server = found(office, caller, name)?;
    let decided = office.trust.decide(caller, &server, &decision.ids, verdict).await;
    let decided = decided.map_err(Failure::unprocessable)?;
    office.catalog.reconsider(&server);
    Ok(one(json!({ "server": server.name, "decided": decided })))
}

/// Every definition that is offered, to be kept and compared with later.
pub(super) async fn lock(
    Visitor(caller): Visitor,
    State(office): State<Office>,
) -> Result<Response, Failure> {
    let locked = office.catalog.locked(&caller.principal().sight()).await?;
    let (mut servers, mut silent) = (Map::new(), Map::new());
    for Locked { server, outcome } in locked {
        let name = server.name.to_string();
        match outcome {
            Ok(items) => {
                let mut shown = launched(&server);
                shown.insert("held".into(), items.held.into());
                for (kind, member) in KINDS {
                    let of_kind = items.digests.iter().filter(|((it, _), _)| *it == kind);
                    let of_kind: Map<String, Value> = of_kind
                        .map(|((_, name), digest)| (name.to_string(), digest.to_string().into()))
                        .collect();
                    shown.insert(member.into(), of_kind.into());
                }
                let instructions = items.digests.get(&(PinKind::Instructions, "".into()));
                let instructions = instructions.map(ToString::to_string);
                shown.insert("instructions".into(), instructions.into());
                servers.insert(name, shown.into());
            }
            Err(reason) => drop(silent.insert(name, reason.into())),
        }
    }
    let lock = json!({ "version": LOCK_VERSION, "servers": servers });
    Ok(one(json!({ "lock": lock, "silent": silent })))
}

const KINDS: [(PinKind, &str); 3] =
    [(PinKind::Tool, "tools"), (PinKind::Prompt, "prompts"), (PinKind::Template, "templates")];

/// How a server is reached, without anything secret: of variables and headers the names alone.
fn launched(server: &Server) -> Map<String, Value> {
    let mut shown = Map::new();
    let Some(instance) = server.instances.first() else { return shown };
    shown.insert("transport".into(), instance.endpoint.transport().into());
    match &instance.endpoint {
        Endpoint::Http { url, headers, .. } => {
            shown.insert("url".into(), without_values(url).into());
            shown.insert("headers".into(), headers.keys().cloned().collect());
        }
        Endpoint::Stdio { command, args, env, .. } => {
            let words = std::iter::once(command.clone()).chain(without_secrets(args));
            shown.insert("command".into(), words.collect());
            shown.insert("env".into(), env.keys().cloned().collect());
        }
    }
    shown
}

/// A URL whose query says which values it has, and none of them.
fn without_values(url: &HttpUrl) -> String {
    let text = url.to_string();
    let Some((place, query)) = text.split_once('?') else { return text };
    let names = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=***"),
        // Without a name it may be the secret itself.
        None => "***".to_owned(),
    });
    format!("{place}?{}", names.collect::<Vec<_>>().join("&"))
}

/// Words of a command line, but for the values of options that sound secret.
fn without_secrets(words: &[String]) -> Vec<String> {
    const SECRET: [&str; 7] = ["auth", "bearer", "credential", "key", "pass", "secret", "token"];
    let sounds_secret = |word: &str| {
        let word = word.to_ascii_lowercase();
        word.starts_with('-') && SECRET.iter().any(|secret| word.contains(secret))
    };
    let mut shown = Vec::new();
    let mut is_value = false;
    for word in words {
        shown.push(match word.split_once('=') {
            _ if is_value && !word.starts_with('-') => "***".to_owned(),
            Some((name, _)) if sounds_secret(name) => format!("{name}=***"),
            _ => word.clone(),
        });
        is_value = sounds_secret(word) && !word.contains('=');
    }
    shown
}

fn found(office: &Office, caller: &Caller, name: &str) -> Result<std::sync::Arc<Server>, Problem> {
    let directory = office.registry.directory();
    let found = directory.find(&caller.principal().sight(), name).cloned();
    found.ok_or_else(|| {
        let unknown = registry::Error::NoSuchServer(name.chars().take(80).collect());
        Problem::new(Kind::NotFound, unknown.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_no_secret() {
        let words = ["-y", "pkg@1.2", "--api-key", "hunter2", "--token=hunter2", "--port", "80"];
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let url: HttpUrl =
            "https://example.com/mcp?region=eu&key=hunter2&hunter2".parse().expect("a URL");

        assert_eq!(
            without_secrets(&words),
            ["-y", "pkg@1.2", "--api-key", "***", "--token=***", "--port", "80"]
        );
        assert_eq!(without_values(&url), "https://example.com/mcp?region=***&key=***&***");
    }
}
