//! One consistent view of everything, as of the last commit before it was taken.

use std::{
    ops::Bound,
    sync::{Arc, mpsc::Sender},
};

use redb::ReadTransaction;

use crate::domain::{
    ApiKey, AuditHead, AuditLine, FeedEntry, HttpRoute, KeyUse, LimitTallies, Link, Login, LoginId,
    Namespace, Organization, Policy, RateLimit, SecondFactor, Server, SessionRecord, SigningKey,
    User, UserId,
};
use crate::domain::{Definition, Digest, Pin, Pins, ServerId};

use super::{
    codec,
    error::Error,
    seal::Seal,
    shelf::Shelf,
    table::{AUDIT, AUDIT_HEAD, Record, definition_key, last_number},
    vault::sheltered,
    write::Message,
};

/// A view that does not move while others write. Keep it for a moment only: old pages cannot be
/// used again before it is dropped, and when the store re-opens after a disk error it may answer
/// [`Error::Storage`]; take a new one then.
pub(crate) struct Snapshot {
    transaction: ReadTransaction,
    seal: Arc<Seal>,
    shelf: Arc<Shelf>,
    writer: Sender<Message>,
}

impl Snapshot {
    pub(super) fn take(
        shelf: &Arc<Shelf>,
        seal: &Arc<Seal>,
        writer: &Sender<Message>,
    ) -> Result<Self, Error> {
        Ok(Self {
            transaction: told(writer, shelf.begin_read())?,
            seal: Arc::clone(seal),
            shelf: Arc::clone(shelf),
            writer: writer.clone(),
        })
    }

    /// Every organization.
    pub(crate) fn organizations(&self) -> Result<Vec<Organization>, Error> {
        self.all()
    }

    /// Every namespace.
    pub(crate) fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        self.all()
    }

    /// Everybody with an account.
    pub(crate) fn users(&self) -> Result<Vec<User>, Error> {
        self.all()
    }

    /// Every API key.
    pub(crate) fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        self.all()
    }

    /// When each key was used last, as far as that was noted.
    pub(crate) fn key_uses(&self) -> Result<Vec<KeyUse>, Error> {
        self.all()
    }

    /// Every server, the oldest first.
    pub(crate) fn servers(&self) -> Result<Vec<Server>, Error> {
        self.all()
    }

    /// Every session that something is noted of.
    pub(crate) fn sessions(&self) -> Result<Vec<SessionRecord>, Error> {
        self.all()
    }

    /// One person's account.
    pub(crate) fn user(&self, id: &UserId) -> Result<Option<User>, Error> {
        self.find(id.to_string().as_bytes())
    }

    /// One sign-in.
    pub(crate) fn login(&self, id: &LoginId) -> Result<Option<Login>, Error> {
        self.find(id.to_string().as_bytes())
    }

    /// Every sign-in.
    pub(crate) fn logins(&self) -> Result<Vec<Login>, Error> {
        self.all()
    }

    /// Everybody's accounts at servers.
    pub(crate) fn links(&self) -> Result<Vec<Link>, Error> {
        self.all()
    }

    /// Every key that signs tokens, or did.
    pub(crate) fn signing_keys(&self) -> Result<Vec<SigningKey>, Error> {
        self.all()
    }

    /// Somebody's second factor.
    pub(crate) fn second_factor(&self, user: &UserId) -> Result<Option<SecondFactor>, Error> {
        self.find(user.to_string().as_bytes())
    }

    /// Every policy, the oldest first.
    pub(crate) fn policies(&self) -> Result<Vec<Policy>, Error> {
        self.all()
    }

    /// Every rate limit, the oldest first.
    pub(crate) fn rate_limits(&self) -> Result<Vec<RateLimit>, Error> {
        self.all()
    }

    /// Every route, the oldest first.
    pub(crate) fn routes(&self) -> Result<Vec<HttpRoute>, Error> {
        self.all()
    }

    /// What rate limits counted.
    pub(crate) fn limit_tallies(&self) -> Result<Vec<LimitTallies>, Error> {
        self.all()
    }

    /// Every server that was met.
    pub(crate) fn pins(&self) -> Result<Vec<Pins>, Error> {
        self.all()
    }

    /// Everything that is pinned.
    pub(crate) fn pinned(&self) -> Result<Vec<Pin>, Error> {
        self.all()
    }

    /// A definition that a server showed.
    pub(crate) fn definition(
        &self,
        server: &ServerId,
        digest: &Digest,
    ) -> Result<Option<Definition>, Error> {
        self.find(&definition_key(server, digest))
    }

    /// Audit lines with a number greater than `after`, at most `limit` of them.
    pub(crate) fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditLine>, Error> {
        self.following(after, limit)
    }

    /// The audit line of this number, where there is one.
    pub(crate) fn audit_line(&self, sequence: u64) -> Result<Option<AuditLine>, Error> {
        self.find(&sequence.to_be_bytes())
    }

    /// Where the audit ends, as it is known apart from its lines.
    pub(crate) fn audit_head(&self) -> Result<Option<AuditHead>, Error> {
        self.find(AUDIT_HEAD)
    }

    /// Feed entries with a number greater than `after`, at most `limit` of them.
    pub(crate) fn feed(&self, after: u64, limit: usize) -> Result<Vec<FeedEntry>, Error> {
        self.following(after, limit)
    }

    /// The number of the last audit line and feed entry; zero where nothing ever changed.
    pub(crate) fn last_sequence(&self) -> Result<u64, Error> {
        self.watched(|| last_number(&self.transaction.open_table(AUDIT.definition())?))
    }

    fn find<R: Record>(&self, key: &[u8]) -> Result<Option<R>, Error> {
        self.watched(|| {
            let table = self.transaction.open_table(R::TABLE.definition())?;
            codec::fetch(&table, &self.seal, key)
        })
    }

    fn all<R: Record>(&self) -> Result<Vec<R>, Error> {
        self.range((Bound::Unbounded, Bound::Unbounded), usize::MAX)
    }

    fn following<R: Record>(&self, after: u64, limit: usize) -> Result<Vec<R>, Error> {
        let after = after.to_be_bytes();
        self.range((Bound::Excluded(&after[..]), Bound::Unbounded), limit)
    }

    fn range<R: Record>(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Result<Vec<R>, Error> {
        self.watched(|| {
            let table = self.transaction.open_table(R::TABLE.definition())?;
            let mut records = Vec::new();
            for entry in table.range::<&[u8]>(range)?.take(limit) {
                let (key, record) = entry?;
                let body = codec::open(&self.seal, R::TABLE, key.value(), record.value())?;
                records.push(codec::decode(&body)?);
            }
            Ok(records)
        })
    }

    fn watched<T>(&self, read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        told(&self.writer, sheltered(self.shelf.path(), read))
    }
}

/// Tells the writer of a read that failed: after one, the database may refuse all others until it
/// is opened again.
fn told<T>(writer: &Sender<Message>, result: Result<T, Error>) -> Result<T, Error> {
    if matches!(result, Err(Error::Storage(_))) {
        // A writer that is gone has closed the database.
        drop(writer.send(Message::Look));
    }
    result
}
