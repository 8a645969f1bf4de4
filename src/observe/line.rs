//! A line of a call as it is shown to whoever looks it up.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::observe::{
    segment::Place,
    sheet::{Number, Sheet, Word},
};

/// What is kept of a call.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RequestLine {
    /// Its number in the book.
    pub(crate) id: u64,
    /// When the call ended.
    pub(crate) timestamp: String,
    /// How grave its end is: `info`, `warning` or `error`.
    level: &'static str,
    /// What kind of line it is.
    logger: &'static str,
    /// The call in a few words.
    message: String,
    /// Names the call.
    pub(crate) request_id: String,
    /// Whose call it is.
    organization_id: Option<String>,
    /// Who called.
    user_id: Option<String>,
    /// As what.
    role: Option<String>,
    /// What the client calls itself.
    client_id: Option<String>,
    /// The address it came from.
    remote_ip: Option<String>,
    /// The session it was made in.
    session_id: Option<String>,
    /// The transport it came by.
    transport: String,
    /// The revision that the client speaks.
    revision: String,
    /// The endpoint it came by.
    endpoint: String,
    /// What kind of call.
    pub(crate) rpc_method: String,
    /// The method of an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_method: Option<String>,
    /// The path of an HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The server it was for.
    server: Option<String>,
    /// The instance that was asked last.
    instance: Option<String>,
    /// The tool, resource or prompt.
    item: Option<String>,
    /// How it ended.
    pub(crate) outcome: String,
    /// The HTTP status that says so.
    status_code: u64,
    /// Whether it failed.
    error_flag: bool,
    /// The code of a server's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i64>,
    /// What the caller was told of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What is behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// How long each stage of the path took.
    stages: Stages,
    /// Attempts that were made at a server.
    attempts: u64,
    /// Whether the answer is one that was kept.
    cached: bool,
    /// What policies decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    /// Which of them did.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// Those whose redactions the answer passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted_by: Option<String>,
    /// What they looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Box<RawValue>>,
    /// Where the call stands with rate limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Box<RawValue>>,
    /// The size of what was asked.
    request_bytes: u64,
    /// The size of what was answered.
    response_bytes: u64,
    /// Where it is kept what was said, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    object_uri: Option<String>,
    /// Where it begins there.
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_offset: Option<u64>,
    #[serde(skip)]
    pub(super) place: Option<Place>,
    /// Lines that were dropped just before this one, because they came faster than written.
    #[serde(skip_serializing_if = "is_zero")]
    dropped_before: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How long each stage of the path took, in microseconds; none for those never reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "whoever reads them must know the unit")]
pub(crate) struct Stages {
    /// Until it was known who calls.
    authenticate_us: Option<u64>,
    /// Then until it was found what is called.
    find_us: Option<u64>,
    /// Then until it was permitted.
    authorize_us: Option<u64>,
    /// Then until there was a place for it.
    admit_us: Option<u64>,
    /// Then until it was answered.
    answer_us: Option<u64>,
}

impl Stages {
    fn of(sheet: &Sheet<'_>, row: usize) -> Self {
        let took = sheet.at(Number::Took, row);
        let marks = [Number::Known, Number::Found, Number::Permitted, Number::Admitted];
        let marks = marks.map(|mark| sheet.at(mark, row));
        // The stage in which it ended lasted until then.
        let span = |at: usize| {
            let before = at
                .checked_sub(1)
                .map_or(Some(0), |before| marks.get(before).copied().filter(|mark| *mark > 0))?;
            let end = marks.get(at).copied().filter(|mark| *mark > 0).unwrap_or(took);
            Some(end.saturating_sub(before))
        };
        Self {
            authenticate_us: span(0),
            find_us: span(1),
            authorize_us: span(2),
            admit_us: span(3),
            answer_us: span(4),
        }
    }
}

/// A call in a few words.
fn message(sheet: &Sheet<'_>, row: usize) -> String {
    let some = |column: Word| Some(sheet.word(column, row)).filter(|word| !word.is_empty());
    let place = [some(Word::Server), some(Word::Item)];
    let place = place.into_iter().flatten().collect::<Vec<_>>().join(".");
    let said = [some(Word::Method), Some(&*place), some(Word::Outcome)];
    let said = said.into_iter().flatten().filter(|word| !word.is_empty());
    said.collect::<Vec<_>>().join(" ")
}

/// How grave the end of a call is.
fn level(outcome: &str, status: u64) -> &'static str {
    match (outcome, status) {
        ("ok", _) => "info",
        (_, 500..) => "error",
        _ => "warning",
    }
}

impl RequestLine {
    /// The line that stands there.
    pub(crate) fn of(sheet: &Sheet<'_>, row: usize) -> Self {
        let word = |column: Word| sheet.word(column, row).to_owned();
        let some = |column: Word| Some(sheet.word(column, row)).filter(|word| !word.is_empty());
        let owned = |column: Word| some(column).map(str::to_owned);
        let json = |column: Word| RawValue::from_string(some(column)?.to_owned()).ok();
        let number = |column: Number| sheet.at(column, row);
        let (outcome, status) = (word(Word::Outcome), number(Number::Status));
        #[expect(clippy::cast_precision_loss, reason = "durations are far below 2^52")]
        let duration_ms = number(Number::Took) as f64 / 1_000.0;
        let place = some(Word::Segment).map(|segment| Place {
            segment: segment.to_owned(),
            at: number(Number::BodyAt),
            bytes: number(Number::BodyBytes),
        });
        Self {
            id: sheet.number(row),
            timestamp: sheet.moment(row).to_string(),
            level: level(&outcome, status),
            logger: "request",
            message: message(sheet, row),
            request_id: word(Word::RequestId),
            organization_id: owned(Word::Organization),
            user_id: owned(Word::Caller),
            role: owned(Word::Role),
            client_id: owned(Word::Client),
            remote_ip: owned(Word::Address),
            session_id: owned(Word::Session),
            transport: word(Word::Via),
            revision: word(Word::Revision),
            endpoint: word(Word::Endpoint),
            rpc_method: word(Word::Method),
            http_method: owned(Word::Verb),
            path: owned(Word::Path),
            server: owned(Word::Server),
            instance: owned(Word::Instance),
            item: owned(Word::Item),
            error_flag: outcome != "ok",
            outcome,
            status_code: status,
            code: Some(number(Number::Code)).filter(|code| *code != 0).map(straight),
            problem: owned(Word::Problem),
            cause: owned(Word::Cause),
            duration_ms,
            stages: Stages::of(sheet, row),
            attempts: number(Number::Attempts),
            cached: number(Number::Recalled) == 1,
            decision: owned(Word::Decision),
            policy: owned(Word::Policy),
            redacted_by: owned(Word::RedactedBy),
            inputs: json(Word::Inputs),
            limits: json(Word::Limits),
            request_bytes: number(Number::In),
            response_bytes: number(Number::Out),
            object_uri: place.as_ref().map(|place| format!("file:logs/{}", place.segment)),
            byte_offset: place.as_ref().map(|place| place.at),
            place,
            dropped_before: number(Number::Dropped),
        }
    }
}

/// A signed number as a column keeps it: small where it is near zero.
pub(super) const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

const fn straight(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sheet::Draft;

    #[test]
    fn a_stage_that_was_never_reached_took_no_time() {
        let mut draft = Draft::default();
        for marks in [[10, 25, 40, 60], [10, 25, 0, 0], [0; 4]] {
            let mut line = draft.begin();
            line.number(Number::Took, 100);
            let columns = [Number::Known, Number::Found, Number::Permitted, Number::Admitted];
            for (column, mark) in columns.into_iter().zip(marks) {
                line.number(column, mark);
            }
        }
        let (_, bytes) = draft.seal(1);
        let sheet = Sheet::read(&bytes).expect("a sheet");
        let stages = |row| {
            let it = Stages::of(&sheet, row);
            [it.authenticate_us, it.find_us, it.authorize_us, it.admit_us, it.answer_us]
        };

        assert_eq!(stages(0), [Some(10), Some(15), Some(15), Some(20), Some(40)]);
        assert_eq!(stages(1), [Some(10), Some(15), Some(75), None, None]);
        assert_eq!(stages(2), [Some(100), None, None, None, None]);
    }

    #[test]
    fn codes_come_back_as_they_were() {
        for code in [0, 1, -1, -32_000, i64::MAX, i64::MIN] {
            assert_eq!(straight(zigzag(code)), code);
        }
    }
}
