//! Claiming the house.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::json;

use crate::{
    access::Access,
    admin::desk::{Checked, Failure, Visitor, created},
    domain::{PrincipalKind, Secret},
    problem::{Kind, Problem},
};

/// What claims the house.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    username: String,
    password: Secret,
}

/// Makes the administrator and a first key: once, and only for the owner of the data folder.
pub(super) async fn claim(
    Visitor(caller): Visitor,
    State(access): State<Access>,
    Checked(claim): Checked<Claim>,
) -> Result<Response, Failure> {
    if caller.principal().kind != PrincipalKind::Operator {
        let message = "a gateway is claimed on its own machine, with `tollhouse setup`";
        return Err(Problem::new(Kind::Forbidden, message).into());
    }
    let claimed = access.claim(&caller.actor(), &claim.username, claim.password).await;
    let key = claimed.map_err(Failure::unprocessable)?;
    Ok(created(json!({ "username": claim.username, "api_key": key.expose() })))
}
