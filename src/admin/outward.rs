//! What servers are shown of the gateway: changed here, and never told.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    access::Caller,
    admin::{
        Office,
        desk::{Checked, Failure, Visitor, one},
        servers::{View, shown},
    },
    domain::{ServerAuth, ServerTls},
    registry::Outward,
    upstream::Papers,
};

/// Changes how the gateway says to a server who it is.
pub(super) async fn change_auth(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
    Checked(auth): Checked<ServerAuth>,
) -> Result<Response, Failure> {
    change(&office, &caller, &name, Outward::Auth(auth)).await
}

/// Changes what a server is shown in the TLS handshake.
pub(super) async fn change_tls(
    Visitor(caller): Visitor,
    State(office): State<Office>,
    Path(name): Path<String>,
    Checked(tls): Checked<ServerTls>,
) -> Result<Response, Failure> {
    change(&office, &caller, &name, Outward::Tls(tls)).await
}

async fn change(
    office: &Office,
    caller: &Caller,
    name: &str,
    outward: Outward,
) -> Result<Response, Failure> {
    let changed = office.registry.show(caller, name, outward).await;
    let server = changed.map_err(Failure::unprocessable)?;
    // Whoever is let in may see what was hidden before.
    office.catalog.suspect(&server.id);
    Ok(one(shown(office, &server, View::Inside)))
}

/// How the gateway says who it is, without what it says.
pub(super) fn shown_auth(auth: &ServerAuth) -> Value {
    let mut shown = json!({ "type": auth.as_str() });
    match auth {
        ServerAuth::None | ServerAuth::Bearer { .. } => {}
        ServerAuth::Header { name, .. } => shown["name"] = name.as_str().into(),
        ServerAuth::Basic { username, .. } => shown["username"] = username.as_str().into(),
        ServerAuth::ClientCredentials(auth) => {
            shown["client_id"] = auth.client_id.as_str().into();
            shown["token_url"] = auth.token_url.as_deref().into();
            shown["scopes"] = auth.scopes.join(" ").into();
            shown["resource"] = auth.resource.as_deref().into();
        }
        ServerAuth::TokenExchange(auth) => {
            shown["client_id"] = auth.client_id.as_str().into();
            shown["token_url"] = auth.token_url.as_str().into();
            shown["audience"] = auth.audience.as_deref().into();
            shown["scopes"] = auth.scopes.join(" ").into();
        }
        ServerAuth::OAuth(auth) => {
            shown["client_id"] = auth.client_id.as_deref().into();
            shown["scopes"] = auth.scopes.join(" ").into();
        }
    }
    shown["secret"] = (if *auth == ServerAuth::None { "none" } else { "set" }).into();
    shown
}

/// Whose certificate is shown in the handshake, and how many authorities are asked about the
/// server.
pub(super) fn shown_tls(tls: &ServerTls) -> Value {
    // What is stored was read before.
    let papers = Papers::read(tls).ok().filter(|_| !tls.is_plain());
    papers.map_or(Value::Null, |papers| {
        let own = papers.own();
        json!({
            "certificate": own.map(|(subject, ends)| json!({"subject": subject, "ends": ends})),
            "authorities": papers.authorities(),
        })
    })
}
