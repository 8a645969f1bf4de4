//! Tokens for the gateway itself: it is the client, and nobody's (RFC 6749, 4.4).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use super::{
    Failure,
    bearer::Grants,
    discover::{Discovered, discover},
    token::{Client, Desk, Granted, ask},
};
use crate::{
    domain::{ClientAuth, HttpUrl},
    upstream::Settings,
};

/// Asks for tokens in the gateway's own name.
#[derive(Debug)]
pub(crate) struct ClientCredentials {
    url: HttpUrl,
    auth: ClientAuth,
    settings: Arc<Settings>,
    /// Who gives them, once it was found out.
    found: OnceCell<Discovered>,
}

impl ClientCredentials {
    /// For a server at this URL.
    pub(crate) fn new(url: HttpUrl, auth: ClientAuth, settings: Arc<Settings>) -> Self {
        Self { url, auth, settings, found: OnceCell::new() }
    }

    async fn ask(&self) -> Result<Granted, Failure> {
        let ClientAuth { client_id, client_secret, token_url, scopes, resource } = &self.auth;
        let uri = self.url.uri().to_string();
        let (desk, found) = if let Some(url) = token_url {
            (Desk::named(url), None)
        } else {
            let found = self.found.get_or_try_init(|| discover(&self.url, &self.settings)).await?;
            (Desk::of(&found.issuer.grantor), Some(found))
        };
        let said = found.and_then(|found| found.scope.as_deref());
        let scope =
            if scopes.is_empty() { said.map(str::to_owned) } else { Some(scopes.join(" ")) };
        let resource = resource.as_deref().or(found.map(|found| &*found.resource));
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(scope.as_deref().map(|scope| ("scope", scope)));
        fields.push(("resource", resource.unwrap_or(&uri)));
        let client = Client { id: client_id.clone(), secret: Some(client_secret.clone()) };
        ask(desk, &client, fields, &self.settings).await
    }
}

impl Grants for ClientCredentials {
    fn grant(&self) -> BoxFuture<'_, Result<Granted, Failure>> {
        Box::pin(self.ask())
    }
}
