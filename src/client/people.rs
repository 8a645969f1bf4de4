//! The office: people, organizations and namespaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, Error, manage::segment};
use crate::domain::{Secret, exposed};

const USERS: &str = "/auth/users";
const ORGANIZATIONS: &str = "/api/admin/organizations";
const NAMESPACES: &str = "/api/admin/namespaces";

/// Somebody with an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserView {
    /// Their id.
    pub id: String,
    /// What they sign in with.
    pub username: String,
    /// Their address.
    #[serde(default)]
    pub email: Option<String>,
    /// What they are.
    #[serde(default)]
    pub role: String,
    /// Whether they stand above organizations.
    #[serde(default)]
    pub is_superuser: bool,
    /// Whether they are let in.
    #[serde(default)]
    pub is_active: bool,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// An account to be made, or what is to be different about one.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UserForm {
    /// What they sign in with; when it is made only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Their address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What people call them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What they prove who they are with.
    #[serde(skip_serializing_if = "Option::is_none", with = "shown_once")]
    pub password: Option<Secret>,
    /// What they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether they stand above organizations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_superuser: Option<bool>,
    /// Whether they are let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
}

/// An organization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrganizationView {
    /// Its id.
    pub id: String,
    /// Its name in paths.
    pub slug: String,
    /// What it pays for.
    #[serde(default)]
    pub plan: String,
    /// Servers it may have.
    #[serde(default)]
    pub max_servers: u64,
    /// Sessions it may have open.
    #[serde(default)]
    pub max_sessions: u64,
    /// Whether anybody of it is let in.
    #[serde(default)]
    pub is_active: bool,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// An organization to be made, or what is to be different about one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OrganizationForm {
    /// Its name in paths; when it is made only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it pays for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Servers it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_servers: Option<u32>,
    /// Sessions it may have open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// Days for which whoever keeps its logs is to keep them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_retention_days: Option<u32>,
    /// Whether anybody of it is let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceView {
    /// Its id.
    pub id: String,
    /// Its name in paths.
    pub slug: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Whether its servers are offered.
    #[serde(default)]
    pub is_active: bool,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A namespace to be made, or what is to be different about one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NamespaceForm {
    /// Its name in paths; when it is made only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How names are qualified in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether its servers are offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
    /// What people write down about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

impl Client {
    /// Speaks about another organization than its own, as those may who stand above them.
    #[must_use]
    pub fn in_organization(mut self, organization: Option<&str>) -> Self {
        self.organization = organization.map(str::to_owned);
        self
    }

    /// Everybody with an account.
    pub async fn users(&self) -> Result<Vec<UserView>, Error> {
        self.get(USERS).await
    }

    /// One of them, by id, name or address.
    pub async fn user(&self, user: &str) -> Result<UserView, Error> {
        self.get(&at(USERS, user)).await
    }

    /// Makes an account.
    pub async fn user_create(&self, form: &UserForm) -> Result<UserView, Error> {
        self.post(USERS, form).await
    }

    /// Changes an account.
    pub async fn user_change(&self, user: &str, form: &UserForm) -> Result<UserView, Error> {
        self.patch(&at(USERS, user), form).await
    }

    /// Deletes an account, with the keys that are its.
    pub async fn user_delete(&self, user: &str) -> Result<(), Error> {
        self.delete(&at(USERS, user)).await
    }

    /// The organizations one may know of.
    pub async fn organizations(&self) -> Result<Vec<OrganizationView>, Error> {
        self.get(ORGANIZATIONS).await
    }

    /// One of them, by id or slug.
    pub async fn organization(&self, organization: &str) -> Result<OrganizationView, Error> {
        self.get(&at(ORGANIZATIONS, organization)).await
    }

    /// Makes an organization.
    pub async fn organization_create(
        &self,
        form: &OrganizationForm,
    ) -> Result<OrganizationView, Error> {
        self.post(ORGANIZATIONS, form).await
    }

    /// Changes an organization.
    pub async fn organization_change(
        &self,
        organization: &str,
        form: &OrganizationForm,
    ) -> Result<OrganizationView, Error> {
        self.patch(&at(ORGANIZATIONS, organization), form).await
    }

    /// Deletes an organization with everything in it.
    pub async fn organization_delete(&self, organization: &str) -> Result<(), Error> {
        self.delete(&at(ORGANIZATIONS, organization)).await
    }

    /// All namespaces.
    pub async fn namespaces(&self) -> Result<Vec<NamespaceView>, Error> {
        self.get(NAMESPACES).await
    }

    /// One of them, by id or slug.
    pub async fn namespace(&self, namespace: &str) -> Result<NamespaceView, Error> {
        self.get(&at(NAMESPACES, namespace)).await
    }

    /// Makes a namespace.
    pub async fn namespace_create(&self, form: &NamespaceForm) -> Result<NamespaceView, Error> {
        self.post(NAMESPACES, form).await
    }

    /// Changes a namespace.
    pub async fn namespace_change(
        &self,
        namespace: &str,
        form: &NamespaceForm,
    ) -> Result<NamespaceView, Error> {
        self.patch(&at(NAMESPACES, namespace), form).await
    }

    /// Deletes a namespace; one that holds servers only where they may be retired with it.
    pub async fn namespace_delete(&self, namespace: &str, force: bool) -> Result<(), Error> {
        self.delete(&format!("{}?force={force}", at(NAMESPACES, namespace))).await
    }
}

fn at(all: &str, one: &str) -> String {
    format!("{all}/{}", segment(one))
}

/// A secret on its way to the one who is to know it.
pub(super) mod shown_once {
    use serde::Serializer;

    use super::{Secret, exposed};

    #[expect(clippy::ref_option, reason = "serde asks for it so")]
    pub(in crate::client) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => exposed::serialize(secret, serializer),
            None => serializer.serialize_none(),
        }
    }
}
