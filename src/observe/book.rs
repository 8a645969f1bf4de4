//! The book of calls, as it is read: looked through, listened to, summed up.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::{
    domain::{OrganizationId, Timestamp},
    observe::{
        Journal,
        line::RequestLine,
        search::{Search, Wanted},
        segment::Archive,
        sheet::Sheet,
        sums::{self, About, Span, Sum},
    },
    problem::{Classify, Kind},
    store::{self, Records, View},
};

/// Searches at the same time: each reads much.
const SEARCHES: usize = 2;

/// The book of calls. Clones read the same.
#[derive(Clone)]
pub(crate) struct Book {
    kept: Option<(Records, Archive)>,
    journal: Journal,
    listeners: broadcast::Sender<Arc<Vec<u8>>>,
    searches: Arc<Semaphore>,
    places: Arc<Semaphore>,
    most_listeners: usize,
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is not kept.
    #[error("no book of calls is kept here; set observe.book.enabled to true")]
    NotKept,
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The search broke off.
    #[error("the search broke off")]
    BrokenOff,
    /// More listen than may.
    #[error("{0} listen already")]
    Crowded(usize),
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotKept => Kind::NotFound,
            Self::Store(error) => error.kind(),
            Self::BrokenOff => Kind::Internal,
            Self::Crowded(_) => Kind::Unavailable,
        }
    }
}

/// Which of the lines that fit are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// So many at most.
    pub(crate) limit: usize,
    /// After so many.
    pub(crate) offset: usize,
    /// Whether all that fit are counted.
    pub(crate) counts_all: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The lines, the newest first.
    pub(crate) lines: Vec<RequestLine>,
    /// Whether there are more.
    pub(crate) has_more: bool,
    /// How many fit, where that was asked.
    pub(crate) total: Option<usize>,
}

/// What sums are asked for.
#[derive(Debug, Clone)]
pub(crate) struct SumsWanted {
    /// Over how long each goes.
    pub(crate) span: Span,
    /// From the span with this moment.
    pub(crate) since: Timestamp,
    /// To the span with this one.
    pub(crate) until: Timestamp,
    /// Those of one organization.
    pub(crate) organization: Option<OrganizationId>,
    /// Those of one server.
    pub(crate) server: Option<String>,
    /// Those of one kind of call.
    pub(crate) method: Option<String>,
}

impl Book {
    /// A book whose lines come from this journal; an empty one where none is kept.
    pub(crate) fn new(
        kept: Option<(Records, Archive)>,
        journal: Journal,
        listeners: broadcast::Sender<Arc<Vec<u8>>>,
        most_listeners: usize,
    ) -> Self {
        let searches = Arc::new(Semaphore::new(SEARCHES));
        let places = Arc::new(Semaphore::new(most_listeners.min(Semaphore::MAX_PERMITS)));
        Self { kept, journal, listeners, searches, places, most_listeners }
    }

    /// A place for somebody who listens.
    pub(crate) fn listener(&self) -> Result<OwnedSemaphorePermit, Error> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| Error::Crowded(self.most_listeners))
    }

    /// Looks for lines, also for those of just now.
    pub(crate) async fn search(&self, wanted: Wanted, page: Page) -> Result<Found, Error> {
        self.look(move |view| found(view, &Search::new(wanted), page)).await
    }

    /// What was said in the call of a line; none where it is not kept, or not any more.
    pub(crate) async fn said(&self, line: &RequestLine) -> Result<Option<Box<RawValue>>, Error> {
        let (_, archive) = self.kept.clone().ok_or(Error::NotKept)?;
        let Some(place) = line.place.clone() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || {
            let record = archive.read(&place);
            record.inspect_err(|error| {
                tracing::debug!(%error, segment = place.segment, "what was said is there no more");
            })
        });
        let record = read.await.map_err(|_| Error::BrokenOff)?;
        Ok(record.ok().and_then(|record| serde_json::from_slice(&record).ok()))
    }

    /// The sums that fit, in the order of time.
    pub(crate) async fn sums(&self, wanted: SumsWanted) -> Result<Vec<(About, Sum)>, Error> {
        self.look(move |view| {
            let (from, to) = sums::keys(wanted.span, wanted.since, wanted.until);
            let mut all = BTreeMap::new();
            view.sums((&from, &to), |key, value| {
                if let Some((about, sum)) = sums::entry(wanted.span, key, value)
                    && wanted.organization.is_none_or(|it| about.organization == Some(it))
                    && wanted.server.as_ref().is_none_or(|it| about.server.as_ref() == Some(it))
                    && wanted.method.as_ref().is_none_or(|it| about.method == *it)
                {
                    all.insert(about, sum);
                }
            })?;
            Ok(all.into_iter().collect())
        })
        .await
    }

    /// Hears of lines as they come, each time as a sheet.
    pub(crate) fn listen(&self) -> Result<broadcast::Receiver<Arc<Vec<u8>>>, Error> {
        self.kept.as_ref().ok_or(Error::NotKept)?;
        Ok(self.listeners.subscribe())
    }

    /// Reads on a thread that may wait for the disk.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (records, _) = self.kept.clone().ok_or(Error::NotKept)?;
        let place = Arc::clone(&self.searches).acquire_owned().await;
        self.journal.written().await;
        let looked = tokio::task::spawn_blocking(move || {
            let _place = place;
            records.read(look)
        });
        Ok(looked.await.map_err(|_| Error::BrokenOff)??)
    }
}

fn found(view: &View, search: &Search, page: Page) -> Result<Found, store::Error> {
    let (mut found, mut count) = (Found::default(), 0);
    let marks = view.marks()?;
    'sheets: for mark in marks.values().rev().filter(|mark| search.may_fit(mark)) {
        let looked = view.sheet(mark.first, |bytes| {
            let Some(sheet) = Sheet::read(bytes) else {
                tracing::error!(first = mark.first, "lines of calls are damaged");
                return false;
            };
            let Some(sieve) = search.sieve(&sheet) else { return false };
            for row in (0..sheet.rows()).rev().filter(|row| sieve.fits(*row)) {
                if count >= page.offset && found.lines.len() < page.limit {
                    found.lines.push(RequestLine::of(&sheet, row));
                } else if count >= page.offset {
                    found.has_more = true;
                    if !page.counts_all {
                        return true;
                    }
                }
                count += 1;
            }
            false
        });
        if looked? == Some(true) {
            break 'sheets;
        }
    }
    found.total = page.counts_all.then_some(count);
    Ok(found)
}
