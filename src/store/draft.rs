//! A change while it is being made: what it would write, and what it sees.
//!
//! The changes of one commit share a transaction of the database, which cannot take back a part
//! of itself. So a change is first drafted beside it: a refused draft is dropped and leaves no
//! trace, and the next draft sees what the accepted ones before it wrote.

use std::collections::BTreeMap;

use redb::{ReadableTable, WriteTransaction};
use serde_json::Value;

use crate::domain::{
    ApiKey, HttpRoute, KeyId, KeyUse, LimitTallies, Link, LinkId, Login, LoginId, Namespace,
    NamespaceId, Noun, Organization, OrganizationId, Policy, PolicyId, RateLimit, RateLimitId,
    Refusal, RouteId, SecondFactor, Server, ServerId, SessionId, SessionRecord, SigningKey,
    Timestamp, User, UserId,
};
use crate::domain::{Definition, Digest, Pin, PinKind, Pins};

use super::{
    codec::{self, Body},
    error::Error,
    seal::Seal,
    table::{Record, Table, Thing, definition_key, key_use_key, pin_key, session_key},
    told,
};

/// One change in the making: reads see the store with the change already in it.
///
/// Each thing that was put or removed gets one audit line and one feed entry, with the same
/// number; they follow the order of the tables' kinds.
pub(crate) struct Draft<'a> {
    pub(super) transaction: &'a WriteTransaction,
    pub(super) seal: &'a Seal,
    pub(super) now: Timestamp,
    pub(super) edits: BTreeMap<Place, Edit>,
    /// What the machine notes about itself: no line of the audit and no entry of the feed tells of
    /// it, because nobody changed anything.
    pub(super) notes: BTreeMap<(Table, Vec<u8>), Option<Body>>,
    /// What somebody wanted and may not: lines of the audit that change nothing.
    pub(super) refusals: Vec<Refusal>,
}

/// Which thing: the kind of its table, and its id.
pub(super) type Place = (u8, String);

pub(super) struct Edit {
    pub(super) table: Table,
    pub(super) noun: Noun,
    pub(super) name: String,
    pub(super) organization: Option<OrganizationId>,
    /// What the thing becomes; none when it goes.
    pub(super) body: Option<Body>,
    /// What the audit says beside that.
    pub(super) detail: Option<String>,
    /// What the audit tells of the thing as it was and as it becomes.
    pub(super) told: (Option<Value>, Option<Value>),
}

impl<'a> Draft<'a> {
    pub(super) fn new(transaction: &'a WriteTransaction, seal: &'a Seal, now: Timestamp) -> Self {
        let (edits, notes, refusals) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { transaction, seal, now, edits, notes, refusals }
    }

    /// When this change is made: the time in its audit lines.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Makes or replaces an organization.
    pub(crate) fn put_organization(&mut self, organization: &Organization) -> Result<(), Error> {
        self.put(organization)
    }

    /// Removes an organization and returns it, if it was there. What is in it stays.
    pub(crate) fn remove_organization(
        &mut self,
        id: &OrganizationId,
    ) -> Result<Option<Organization>, Error> {
        self.remove(id.to_string())
    }

    /// Makes or replaces a namespace.
    pub(crate) fn put_namespace(&mut self, namespace: &Namespace) -> Result<(), Error> {
        self.put(namespace)
    }

    /// Removes a namespace and returns it, if it was there. Its servers stay.
    pub(crate) fn remove_namespace(
        &mut self,
        id: &NamespaceId,
    ) -> Result<Option<Namespace>, Error> {
        self.remove(id.to_string())
    }

    /// Makes or replaces a person's account.
    pub(crate) fn put_user(&mut self, user: &User) -> Result<(), Error> {
        self.put(user)
    }

    /// Removes a person's account and returns it, if it was there. Their keys stay.
    pub(crate) fn remove_user(&mut self, id: &UserId) -> Result<Option<User>, Error> {
        self.remove_links(|link| link.user == *id)?;
        self.remove(id.to_string())
    }

    /// Makes or replaces an API key.
    pub(crate) fn put_key(&mut self, key: &ApiKey) -> Result<(), Error> {
        self.put(key)
    }

    /// Removes an API key and returns it, if it was there.
    pub(crate) fn remove_key(&mut self, id: &KeyId) -> Result<Option<ApiKey>, Error> {
        let gone = self.remove(id.to_string())?;
        if gone.is_some() {
            self.notes.insert((KeyUse::TABLE, key_use_key(id)), None);
        }
        Ok(gone)
    }

    /// Notes when a key was used.
    pub(crate) fn note_key_use(&mut self, used: KeyUse) -> Result<(), Error> {
        self.note(&used)
    }

    /// Makes or replaces a server with its instances.
    pub(crate) fn put_server(&mut self, server: &Server) -> Result<(), Error> {
        self.put(server)
    }

    /// Removes a server with its instances and returns it, if it was there.
    pub(crate) fn remove_server(&mut self, id: &ServerId) -> Result<Option<Server>, Error> {
        self.remove_links(|link| link.server == *id)?;
        self.remove(id.to_string())
    }

    /// Every organization.
    pub(crate) fn organizations(&self) -> Result<Vec<Organization>, Error> {
        self.all()
    }

    /// One organization.
    pub(crate) fn organization(&self, id: &OrganizationId) -> Result<Option<Organization>, Error> {
        self.find(id.to_string())
    }

    /// One person's account.
    pub(crate) fn user(&self, id: &UserId) -> Result<Option<User>, Error> {
        self.find(id.to_string())
    }

    /// Every namespace.
    pub(crate) fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        self.all()
    }

    /// Everybody with an account.
    pub(crate) fn users(&self) -> Result<Vec<User>, Error> {
        self.all()
    }

    /// One API key.
    pub(crate) fn key(&self, id: &KeyId) -> Result<Option<ApiKey>, Error> {
        self.find(id.to_string())
    }

    /// Every API key.
    pub(crate) fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        self.all()
    }

    /// One server.
    pub(crate) fn server(&self, id: &ServerId) -> Result<Option<Server>, Error> {
        self.find(id.to_string())
    }

    /// Every server, the oldest first.
    pub(crate) fn servers(&self) -> Result<Vec<Server>, Error> {
        self.all()
    }

    /// Notes what is known of a session.
    pub(crate) fn note_session(&mut self, session: &SessionRecord) -> Result<(), Error> {
        self.note(session)
    }

    /// Forgets what was noted of a session.
    pub(crate) fn forget_session(&mut self, id: &SessionId) {
        self.notes.insert((SessionRecord::TABLE, session_key(id)), None);
    }

    fn note<R: Record>(&mut self, record: &R) -> Result<(), Error> {
        self.notes.insert((R::TABLE, record.key()), Some(codec::encode(record)?));
        Ok(())
    }

    /// Whether it notes anything.
    pub(super) fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Makes or replaces a sign-in.
    pub(crate) fn put_login(&mut self, login: &Login) -> Result<(), Error> {
        self.put(login)
    }

    /// Ends a sign-in and returns it, if it was there.
    pub(crate) fn remove_login(&mut self, id: &LoginId) -> Result<Option<Login>, Error> {
        self.remove(id.to_string())
    }

    /// One sign-in.
    pub(crate) fn login(&self, id: &LoginId) -> Result<Option<Login>, Error> {
        self.find(id.to_string())
    }

    /// Every sign-in.
    pub(crate) fn logins(&self) -> Result<Vec<Login>, Error> {
        self.all()
    }

    /// Makes or replaces a key that signs tokens.
    pub(crate) fn put_signing_key(&mut self, key: &SigningKey) -> Result<(), Error> {
        self.put(key)
    }

    /// Removes a key that signed tokens and returns it, if it was there.
    pub(crate) fn remove_signing_key(&mut self, id: &str) -> Result<Option<SigningKey>, Error> {
        self.remove(id.to_owned())
    }

    /// Every key that signs tokens, or did.
    pub(crate) fn signing_keys(&self) -> Result<Vec<SigningKey>, Error> {
        self.all()
    }

    /// Makes or replaces somebody's second factor.
    pub(crate) fn put_second_factor(&mut self, factor: &SecondFactor) -> Result<(), Error> {
        self.put(factor)
    }

    /// Removes somebody's second factor and returns it, if it was there.
    pub(crate) fn remove_second_factor(
        &mut self,
        user: &UserId,
    ) -> Result<Option<SecondFactor>, Error> {
        self.remove(user.to_string())
    }

    /// Somebody's second factor.
    pub(crate) fn second_factor(&self, user: &UserId) -> Result<Option<SecondFactor>, Error> {
        self.find(user.to_string())
    }

    /// Makes or replaces somebody's account at a server.
    pub(crate) fn put_link(&mut self, link: &Link) -> Result<(), Error> {
        self.put(link)
    }

    /// Notes that another token stands for somebody at a server.
    pub(crate) fn note_link(&mut self, link: &Link) -> Result<(), Error> {
        self.note(link)
    }

    /// Removes somebody's account at a server and returns it, if it was there.
    pub(crate) fn remove_link(&mut self, id: &LinkId) -> Result<Option<Link>, Error> {
        self.remove(id.to_string())
    }

    /// Somebody's account at a server.
    pub(crate) fn link(&self, id: &LinkId) -> Result<Option<Link>, Error> {
        self.find(id.to_string())
    }

    /// Everybody's accounts at servers.
    pub(crate) fn links(&self) -> Result<Vec<Link>, Error> {
        self.all()
    }

    /// Removes accounts at servers, of which nothing is left without the server or the person.
    fn remove_links(&mut self, is_gone: impl Fn(&Link) -> bool) -> Result<(), Error> {
        for link in self.links()?.iter().filter(|link| is_gone(link)) {
            self.remove_link(&link.id)?;
        }
        Ok(())
    }

    /// Makes or replaces a policy.
    pub(crate) fn put_policy(&mut self, policy: &Policy) -> Result<(), Error> {
        self.put(policy)
    }

    /// Removes a policy and returns it, if it was there.
    pub(crate) fn remove_policy(&mut self, id: &PolicyId) -> Result<Option<Policy>, Error> {
        self.remove(id.to_string())
    }

    /// Makes or replaces a rate limit.
    pub(crate) fn put_rate_limit(&mut self, limit: &RateLimit) -> Result<(), Error> {
        self.put(limit)
    }

    /// Removes a rate limit and returns it, if it was there.
    pub(crate) fn remove_rate_limit(
        &mut self,
        id: &RateLimitId,
    ) -> Result<Option<RateLimit>, Error> {
        self.remove(id.to_string())
    }

    /// Every rate limit, the oldest first.
    pub(crate) fn rate_limits(&self) -> Result<Vec<RateLimit>, Error> {
        self.all()
    }

    /// Makes or replaces a route.
    pub(crate) fn put_route(&mut self, route: &HttpRoute) -> Result<(), Error> {
        self.put(route)
    }

    /// Removes a route and returns it, if it was there.
    pub(crate) fn remove_route(&mut self, id: &RouteId) -> Result<Option<HttpRoute>, Error> {
        self.remove(id.to_string())
    }

    /// Every route, the oldest first.
    pub(crate) fn routes(&self) -> Result<Vec<HttpRoute>, Error> {
        self.all()
    }

    /// Notes what rate limits counted.
    pub(crate) fn note_limit_tallies(&mut self, tallies: &LimitTallies) -> Result<(), Error> {
        self.note(tallies)
    }

    /// Every policy, the oldest first.
    pub(crate) fn policies(&self) -> Result<Vec<Policy>, Error> {
        self.all()
    }

    /// Notes that what is pinned of a server is another, and says what in the audit.
    pub(crate) fn put_pins(&mut self, pins: &Pins, detail: String) -> Result<(), Error> {
        self.put(pins)?;
        let place = (Pins::TABLE.kind, pins.id.to_string());
        if let Some(edit) = self.edits.get_mut(&place) {
            edit.detail = Some(detail);
        }
        Ok(())
    }

    /// Forgets that a server was met, and says so if it was.
    pub(crate) fn remove_pins(&mut self, id: &ServerId) -> Result<Option<Pins>, Error> {
        self.remove(id.to_string())
    }

    /// Notes what is pinned of an item. [`Draft::put_pins`] tells of it.
    pub(crate) fn note_pin(&mut self, pin: &Pin) -> Result<(), Error> {
        self.note(pin)
    }

    /// Forgets what is pinned of an item.
    pub(crate) fn forget_pin(&mut self, server: &ServerId, kind: PinKind, name: &str) {
        self.notes.insert((Pin::TABLE, pin_key(server, kind, name)), None);
    }

    /// Notes a definition.
    pub(crate) fn note_definition(&mut self, definition: &Definition) -> Result<(), Error> {
        self.note(definition)
    }

    /// Forgets a definition.
    pub(crate) fn forget_definition(&mut self, server: &ServerId, digest: &Digest) {
        self.notes.insert((Definition::TABLE, definition_key(server, digest)), None);
    }

    /// A definition as it was committed.
    pub(crate) fn definition(
        &self,
        server: &ServerId,
        digest: &Digest,
    ) -> Result<Option<Definition>, Error> {
        let table = self.transaction.open_table(Definition::TABLE.definition())?;
        codec::fetch(&table, self.seal, &definition_key(server, digest))
    }

    /// Has the audit tell that somebody wanted what they may not.
    pub(crate) fn note_refusal(&mut self, refusal: Refusal) {
        self.refusals.push(refusal);
    }

    fn put<T: Thing>(&mut self, thing: &T) -> Result<(), Error> {
        let body = Some(codec::encode(thing)?);
        let before = match self.edits.get(&(T::TABLE.kind, thing.id())) {
            Some(edit) => edit.told.0.clone(),
            None if told::is_told::<T>() => {
                self.find::<T>(thing.id())?.and_then(|before| told::value(&before))
            }
            None => None,
        };
        self.edit(thing, thing.id(), body, (before, told::value(thing)));
        Ok(())
    }

    fn remove<T: Thing>(&mut self, id: String) -> Result<Option<T>, Error> {
        let found = self.find::<T>(id.clone())?;
        if let Some(thing) = &found {
            let before = match self.edits.get(&(T::TABLE.kind, id.clone())) {
                Some(edit) => edit.told.0.clone(),
                None => told::value(thing),
            };
            self.edit(thing, id, None, (before, None));
        }
        Ok(found)
    }

    fn edit<T: Thing>(
        &mut self,
        thing: &T,
        id: String,
        body: Option<Body>,
        told: (Option<Value>, Option<Value>),
    ) {
        let (name, organization) = (thing.name().to_owned(), thing.organization());
        let (table, noun, detail) = (T::TABLE, T::NOUN, None);
        let edit = Edit { table, noun, name, organization, body, detail, told };
        self.edits.insert((T::TABLE.kind, id), edit);
    }

    fn find<T: Thing>(&self, id: String) -> Result<Option<T>, Error> {
        let place = (T::TABLE.kind, id);
        if let Some(edit) = self.edits.get(&place) {
            return edit.body.as_ref().map(codec::decode).transpose();
        }
        let table = self.transaction.open_table(T::TABLE.definition())?;
        codec::fetch(&table, self.seal, place.1.as_bytes())
    }

    fn all<T: Thing>(&self) -> Result<Vec<T>, Error> {
        let mut things = BTreeMap::new();
        let table = self.transaction.open_table(T::TABLE.definition())?;
        for entry in table.iter()? {
            let (key, record) = entry?;
            let body = codec::open(self.seal, T::TABLE, key.value(), record.value())?;
            things.insert(key.value().to_vec(), codec::decode::<T>(&body)?);
        }
        let mine = (T::TABLE.kind, String::new())..(T::TABLE.kind + 1, String::new());
        for ((_, id), edit) in self.edits.range(mine) {
            match &edit.body {
                Some(body) => things.insert(id.clone().into_bytes(), codec::decode(body)?),
                None => things.remove(id.as_bytes()),
            };
        }
        Ok(things.into_values().collect())
    }
}
