//! What there is to be permitted, and where it is needed.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    admin::route,
    domain::{Permission, Role},
};

/// Lists every permission in words, with the roles that have it, and every route of the office
/// with what it needs.
pub(super) async fn list() -> Response {
    let rows: Vec<Value> = Permission::ALL.into_iter().map(row).collect();
    let body = json!({
        "success": true,
        "data": rows,
        "count": rows.len(),
        "routes": route::declared(),
    });
    Json(body).into_response()
}

fn row(permission: Permission) -> Value {
    let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| role.permits(permission)).collect();
    json!({
        "name": permission.as_str(),
        "description": permission.words(),
        "roles": roles,
        // Whoever stands above organizations may do everything.
        "superuser_only": roles.is_empty(),
    })
}
