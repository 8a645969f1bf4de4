use std::{collections::BTreeSet, sync::Arc, thread::JoinHandle, time::Duration};

use super::{search::Wanted, *};
use crate::{
    domain::{
        Actor, Clock, FixedClock, Organization, OrganizationId, Permissions, Principal,
        PrincipalKind, RequestId, Role, Scope, Timestamp, is_hidden,
    },
    problem::{Kind, Problem},
    store::{self, Records, Store, View},
    wire::{Call, Client, Method, Request, Revision},
};

const DAY: Duration = Duration::from_hours(24);

/// A journal, and a scribe who has not begun.
struct Desk {
    clock: Arc<FixedClock>,
    journal: Journal,
    log: Log,
    metrics: Metrics,
    scribe: Scribe,
}

fn desk(settings: Settings) -> Desk {
    let (clock, metrics) = (Arc::new(FixedClock::default()), Metrics::new());
    // Not before the first day there is.
    clock.advance(DAY * 1_000);
    let log = Log::new(settings.queue_bytes);
    let journal = Journal::new(&settings, metrics.clone(), clock.clone());
    let sinks = Sinks::start(&[], 0, &metrics, clock.clone()).expect("there are none");
    let lines = (journal.clone(), log.clone(), sinks);
    let scribe = Scribe::new(settings, lines, metrics.clone(), clock.clone());
    Desk { clock, journal, log, metrics, scribe }
}

fn said(format: Format) -> Settings {
    Settings { format, ..Settings::default() }
}

fn call(clock: &FixedClock, item: &str) -> Call {
    let params = serde_json::json!({ "name": item }).to_string();
    let client = Client {
        revision: Revision::NEWEST,
        name: Some("c".into()),
        via: "http",
        capabilities: None,
        level: None,
    };
    let request = Request::make(&Method::ToolsCall, &params);
    Call::new(RequestId::brought("r1"), Scope::Everything, request, client, clock.tick())
}

impl Desk {
    fn open(&self, item: &str) -> Line {
        self.journal.open(&call(&self.clock, item))
    }

    /// Lets the scribe write everything, and shows what stands in the log.
    fn written(self) -> String {
        self.journal.end();
        self.scribe.run();
        self.log.close();
        self.log.gather().0
    }
}

#[test]
fn a_closed_line_says_how_the_call_ended() {
    let desk = desk(said(Format::Json));
    let line = desk.open("a\u{1b}[31m\n\u{2028}\u{9b}\u{E0041}b");
    desk.clock.advance(Duration::from_millis(3));

    line.close(Outcome::Problem(&Problem::new(Kind::Timeout, "too slow")));

    let text = desk.written();
    let line: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
    assert_eq!(line["outcome"], "TIMEOUT");
    assert_eq!(line["duration_us"], 3_000);
    assert_eq!(line["item"], "a\u{1b}[31m\n\u{2028}\u{9b}\u{E0041}b");
    assert!(text.trim_end().is_ascii(), "{text}");
}

#[test]
fn a_client_that_goes_away_leaves_exactly_one_line() {
    let desk = desk(said(Format::Text));

    drop(desk.open("a\u{1b}[31m\n"));

    let text = desk.written();
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("abandoned") && !text.trim_end().contains(is_hidden), "{text}");
}

#[test]
fn lines_that_find_no_room_push_out_the_oldest_and_are_counted() {
    let desk = desk(Settings { queue_lines: 2, ..said(Format::Text) });
    for item in ["one", "two", "three"] {
        desk.open(item).close(Outcome::Ok);
    }
    let metrics = desk.metrics.clone();

    let text = desk.written();

    assert!(
        text.contains(".two ") && text.contains(".three ") && !text.contains(".one "),
        "{text}"
    );
    assert!(metrics.text().contains("journal_dropped_total 1"));
}

/// A book that is kept in a folder.
struct Library {
    clock: Arc<FixedClock>,
    journal: Journal,
    book: Book,
    records: Records,
    store: Store,
    scribe: JoinHandle<()>,
}

fn library(folder: &std::path::Path, settings: Settings) -> Library {
    let Desk { clock, journal, mut scribe, .. } = desk(Settings { calls: false, ..settings });
    let data = folder.join("data");
    let open = if Store::is_initialised(&data) { Store::open } else { Store::create };
    let store = open(&data, &store::Settings::default(), clock.clone());
    let store = store.expect("a store");
    let records = Records::open(&data, 1, Timestamp::from_ms(0)).expect("records");
    let kept = (records.clone(), Archive::new(&data));
    scribe.keep(kept.clone(), store.clone()).expect("readable");
    let book = Book::new(Some(kept), journal.clone(), scribe.listeners(), 2);
    let scribe = std::thread::spawn(|| scribe.run());
    Library { clock, journal, book, records, store, scribe }
}

impl Library {
    fn note(&self, item: &str, organization: OrganizationId) {
        let mut line = self.journal.open(&call(&self.clock, item));
        line.caller(&Principal {
            kind: PrincipalKind::Operator,
            organization,
            role: Role::Admin,
            permissions: Permissions::all(),
            limits: None,
            person: None,
            within: Permissions::all(),
        });
        line.close(Outcome::Ok);
    }

    async fn items(&self, wanted: Wanted) -> Vec<(u64, String)> {
        let page = Page { limit: 10_000, offset: 0, counts_all: true };
        let found = self.book.search(wanted, page).await.expect("it is read");
        assert_eq!(found.total, Some(found.lines.len()));
        let shown = |line: &RequestLine| {
            let line = serde_json::to_value(line).expect("JSON");
            let item = line["item"].as_str().expect("an item").to_owned();
            (line["id"].as_u64().expect("a number"), item)
        };
        found.lines.iter().map(shown).collect()
    }

    async fn close(self) {
        self.journal.end();
        self.scribe.join().expect("no panic");
        self.store.close().await;
    }
}

#[tokio::test]
async fn every_line_is_in_the_book_once_however_it_came_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = library(folder.path(), Settings::default());
    // Sheets of one line become larger ones, and many lines at once more than one.
    for number in 0..300 {
        library.note(&number.to_string(), OrganizationId::fixed(1));
        library.journal.written().await;
    }
    for number in 300..5_000 {
        library.note(&number.to_string(), OrganizationId::fixed(1));
    }

    let found = library.items(Wanted::default()).await;

    let expected = (0..5_000).rev().map(|number| (number + 1, number.to_string()));
    assert!(found.into_iter().eq(expected));
    let sheets = library.records.read(View::marks).expect("it is read");
    assert!(sheets.len() < 50, "{}", sheets.len());
    let page = Page { limit: 2, offset: 1, counts_all: false };
    let some = library.book.search(Wanted { before: Some(4), ..Wanted::default() }, page).await;
    let some = some.expect("it is read");
    assert_eq!(some.lines.iter().map(|line| line.id).collect::<Vec<_>>(), [2, 1]);
    assert!(!some.has_more && some.total.is_none());
    library.close().await;
}

#[tokio::test]
async fn numbers_go_on_where_they_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 1..=3 {
        let library = library(folder.path(), Settings::default());
        library.note("it", OrganizationId::fixed(1));

        let found = library.items(Wanted::default()).await;

        assert_eq!(found.len(), round);
        assert_eq!(found[0].0, round as u64);
        library.close().await;
    }
}

#[tokio::test]
async fn lines_are_kept_as_long_as_their_organization_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = library(folder.path(), Settings::default());
    let [ours, theirs] = [1, 2].map(OrganizationId::fixed);
    for (id, slug, days) in [(ours, "ours", 3), (theirs, "theirs", 30)] {
        let now = library.clock.now();
        let mut organization = Organization::new(id, slug.parse().expect("a slug"), now);
        organization.quotas.log_retention_days = days;
        let actor = Actor::system("test");
        let written =
            library.store.write(&actor, move |draft| draft.put_organization(&organization));
        written.await.expect("it is written");
    }
    for round in 0..2 {
        library.note(&format!("ours {round}"), ours);
        library.note(&format!("theirs {round}"), theirs);
        library.clock.advance(DAY * 4);
    }
    library.note("new", ours);
    library.journal.written().await;
    library.note("wakes the scribe", ours);

    let found = library.items(Wanted::default()).await;
    library.journal.written().await;

    let items: BTreeSet<String> = found.into_iter().map(|(_, item)| item).collect();
    let kept = ["new", "theirs 0", "theirs 1", "wakes the scribe"].map(str::to_owned);
    assert_eq!(items, BTreeSet::from(kept));
    library.close().await;
}

#[tokio::test]
async fn those_who_listen_hear_of_lines_with_the_numbers_they_have() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = library(folder.path(), Settings::default());
    library.note("before", OrganizationId::fixed(1));
    library.journal.written().await;
    let mut lines = library.book.listen().expect("it is kept");

    library.note("one", OrganizationId::fixed(1));

    let bytes = lines.recv().await.expect("there is a scribe");
    let sheet = Sheet::read(&bytes).expect("a sheet");
    assert_eq!((sheet.number(0), sheet.word(Word::Item, 0)), (2, "one"));
    library.close().await;
}

#[tokio::test]
async fn sums_count_what_the_book_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = library(folder.path(), Settings::default());
    for number in 0..3 {
        library.note("it", OrganizationId::fixed(1 + number % 2));
        library.journal.written().await;
    }
    let (span, now) = (Span::Daily, library.clock.now());
    let wanted = |organization| SumsWanted {
        span,
        since: now,
        until: now,
        organization,
        server: None,
        method: Some("tools/call".into()),
    };

    let all = library.book.sums(wanted(None)).await.expect("it is read");
    let ours = library.book.sums(wanted(Some(OrganizationId::fixed(1)))).await.expect("read");

    assert_eq!(all.iter().map(|(_, sum)| sum.total).sum::<u64>(), 3);
    assert_eq!(ours.iter().map(|(_, sum)| sum.total).collect::<Vec<_>>(), [2]);
    library.close().await;
}
