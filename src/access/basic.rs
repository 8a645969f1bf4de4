//! Basic authentication: a username and a password in every request. Off unless a setting turns it
//! on.
//!
//! The password is hashed once and then remembered for a while by a quick code, so that no call
//! waits for the slow hash.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use zeroize::Zeroizing;

use crate::{
    access::{Access, Credential, Error, book::Person, password, permit::Caller},
    domain::{KeyText, Secret, Timestamp, UserId},
};

/// How long a password that was right is remembered.
const REMEMBERED: Duration = Duration::from_mins(5);
/// How many of them.
const MOST: usize = 1_000;

/// A name and a password.
#[derive(Debug, Clone)]
pub(crate) struct Basic {
    name: String,
    password: Secret,
}

impl Basic {
    /// The name, and the password.
    pub(crate) fn into_parts(self) -> (String, Secret) {
        (self.name, self.password)
    }

    /// Reads what follows the scheme.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = Zeroizing::new(STANDARD.decode(text).ok()?);
        let (name, password) = std::str::from_utf8(&text).ok()?.split_once(':')?;
        Some(Self { name: name.to_owned(), password: Secret::new(password) })
    }
}

/// Passwords that were right.
#[derive(Default)]
pub(super) struct Remembered(RwLock<HashMap<[u8; 32], Right>>);

impl Remembered {
    /// Forgets all of them.
    pub(super) fn forget(&self) {
        self.0.write().clear();
    }
}

#[derive(Clone)]
struct Right {
    user: UserId,
    /// The mark of the password then.
    mark: [u8; 32],
    until: Timestamp,
}

impl Access {
    /// Prepares a credential that takes longer than a call may wait for. None for others: what they
    /// do not need shall not stand in every connection.
    pub(crate) fn prepare<'a>(
        &'a self,
        credential: &'a Credential,
        from: Option<IpAddr>,
    ) -> Option<BoxFuture<'a, Result<(), Error>>> {
        let Credential::Basic(basic) = credential else { return None };
        // An app's key is nobody's password. Where apps are given tokens it is looked at.
        if KeyText::parse(basic.password.expose()).is_ok() {
            return None;
        }
        Some(Box::pin(self.remember(basic, from)))
    }

    /// Hashes a password that is not remembered, and remembers it where it is right.
    async fn remember(&self, basic: &Basic, from: Option<IpAddr>) -> Result<(), Error> {
        if !self.0.settings.basic {
            return Err(Error::UnknownKey);
        }
        if self.basic(basic).is_ok() {
            return Ok(());
        }
        password::check_length(&basic.password)?;
        let made = self.0.lanes.enter(&basic.name, from, self.0.clock.now())?;
        let verified = self.verified(&basic.name, basic.password.clone()).await;
        let user = verified.inspect_err(|error| self.0.lanes.withdraw(&made, error))?;
        self.welcome(&user.id)?;
        if self.has_second_factor(&user.id)? {
            return Err(Error::SecondFactorNeeded);
        }
        self.0.lanes.forgive(&made);
        let now = self.0.clock.now();
        let right = Right {
            user: user.id,
            mark: openssl::sha::sha256(user.password_hash.as_bytes()),
            until: now.after(REMEMBERED),
        };
        let mut remembered = self.0.remembered.0.write();
        if remembered.len() >= MOST {
            remembered.retain(|_, right| right.until > now);
        }
        if remembered.len() >= MOST {
            remembered.clear();
        }
        remembered.insert(self.basic_digest(basic), right);
        Ok(())
    }

    /// The person whose right password is remembered.
    pub(super) fn basic(&self, basic: &Basic) -> Result<(UserId, Arc<Person>), Error> {
        let found = self.0.remembered.0.read().get(&self.basic_digest(basic)).cloned();
        let right = found.filter(|right| right.until > self.0.clock.now());
        let right = right.ok_or(Error::WrongPassword)?;
        let person = self.welcome(&right.user)?;
        if person.mark == right.mark { Ok((right.user, person)) } else { Err(Error::WrongPassword) }
    }

    /// Who shows a name and a password.
    pub(super) fn basic_caller(&self, basic: &Basic) -> Result<Caller, Error> {
        let (user, person) = self.basic(basic)?;
        Ok(Caller::person(user, &person))
    }

    fn basic_digest(&self, basic: &Basic) -> [u8; 32] {
        let (name, password) = (&basic.name, basic.password.expose());
        // A name holds no colon.
        self.0.ring.digest(&Zeroizing::new(format!("basic {name}:{password}")))
    }
}
