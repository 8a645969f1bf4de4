//! The language: bytes to values and back. No sockets, no state.
//!
//! Messages are parsed once, into spans of the bytes they came in. What the gateway only carries is
//! never written anew: a change is a splice, everything around it leaves as it arrived.

mod answer;
mod askable;
mod call;
mod canonical;
mod csv;
mod depth;
mod envelope;
mod exchange;
pub mod header;
pub mod input;
mod level;
mod member;
pub mod meta;
mod method;
mod notice;
mod projection;
#[cfg(test)]
mod properties;
mod request;
pub mod result;
mod revision;
mod span;
mod sse;

pub use answer::{Answer, Completed, Outcome, ResultType, Unreadable};
pub use askable::Askable;
pub use call::{AsTask, Call, Client, SessionKey};
pub use canonical::canonical;
pub use csv::{csv_field, csv_text};
pub use envelope::{http_error, rpc_error};
pub use exchange::Exchange;
pub use header::Address;
pub use input::{InputRequest, InputRequired};
pub use level::Level;
pub use method::{Method, SubjectMember};
pub use notice::{Notice, Tells};
pub use projection::project;
pub use request::{Asks, Malformed, Message, Onward, Request};
pub use revision::{Era, Revision};
pub use span::{RawId, Span, splice};
pub use sse::{Event, EventTooLarge, SseDecoder, encode_event, encode_event_with_id};

/// How deep brackets may nest in a message.
pub const DEPTH_LIMIT: usize = 64;
