//! Tokens of identity providers, exchanged for tokens that are meant for a server (RFC 8693).
//!
//! What a caller brought goes to whoever gave it, and never to the server.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::{
    domain::{ExchangeAuth, HttpUrl, Secret, ServerId, SubjectId},
    upstream::{
        self,
        oauth::{Account, Bearer, Client, Desk, Failure, Granted, Grants, ask},
    },
};

/// Whose tokens were exchanged, at most.
const MOST: usize = 10_000;
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Tokens that were exchanged, by server and subject.
#[derive(Default)]
pub(super) struct Exchanges(Mutex<HashMap<(ServerId, SubjectId), Exchanged>>);

struct Exchanged {
    exchanging: Arc<Exchanging>,
    account: Account,
}

/// Exchanges the tokens of one subject for one server.
struct Exchanging {
    url: HttpUrl,
    auth: ExchangeAuth,
    /// The token that they came with last.
    subject_token: Mutex<Secret>,
    speaking: Arc<upstream::Settings>,
}

impl std::fmt::Debug for Exchanging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchanging")
    }
}

impl Exchanges {
    /// The account of a subject, who came with this token.
    pub(super) fn account(
        &self,
        whose: (ServerId, SubjectId),
        (url, auth): (&HttpUrl, &ExchangeAuth),
        token: &Secret,
        speaking: &Arc<upstream::Settings>,
    ) -> Account {
        let mut all = self.0.lock();
        let is_same = |it: &&Exchanged| it.exchanging.auth == *auth && it.exchanging.url == *url;
        if let Some(found) = all.get(&whose).filter(is_same) {
            *found.exchanging.subject_token.lock() = token.clone();
            return found.account.clone();
        }
        if all.len() >= MOST {
            all.clear();
        }
        let exchanging = Arc::new(Exchanging {
            url: url.clone(),
            auth: auth.clone(),
            subject_token: Mutex::new(token.clone()),
            speaking: Arc::clone(speaking),
        });
        let bearer = Arc::new(Bearer::new(exchanging.clone()));
        let account = Account { key: format!("exchange:{}", whose.1).into(), bearer };
        all.insert(whose, Exchanged { exchanging, account: account.clone() });
        account
    }
}

impl Exchanging {
    async fn exchange(&self) -> Result<Granted, Failure> {
        let ExchangeAuth { token_url, client_id, client_secret, audience, scopes } = &self.auth;
        let subject_token = self.subject_token.lock().clone();
        let (resource, scope) = (self.url.uri().to_string(), scopes.join(" "));
        let mut fields = vec![
            ("grant_type", GRANT),
            ("subject_token", subject_token.expose()),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", ACCESS_TOKEN),
            ("resource", &*resource),
        ];
        fields.extend(audience.as_deref().map(|audience| ("audience", audience)));
        fields.extend((!scope.is_empty()).then_some(("scope", &*scope)));
        let client = Client { id: client_id.clone(), secret: Some(client_secret.clone()) };
        ask(Desk::named(token_url), &client, fields, &self.speaking).await
    }
}

impl Grants for Exchanging {
    fn grant(&self) -> BoxFuture<'_, Result<Granted, Failure>> {
        Box::pin(self.exchange())
    }
}
