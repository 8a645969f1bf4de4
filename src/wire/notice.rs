//! Notices: word of something that is sent without being asked for an answer.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Level, RawId, Request, Span, meta, splice};
use crate::domain::ItemKind;

/// A notification, and what it tells.
#[derive(Debug, Clone)]
pub struct Notice {
    bytes: Bytes,
    tells: Tells,
}

/// What a notice tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tells {
    /// How far a request has come.
    Progress {
        /// Where the request's token stands.
        token: Span,
    },
    /// Something for a log.
    Message {
        /// How grave it is.
        level: Level,
    },
    /// That a list is another now. Templates change with resources.
    ListChanged(ItemKind),
    /// That a resource is another now.
    Updated {
        /// Which one.
        uri: Box<str>,
    },
    /// How far a task has come.
    Task,
    /// That a request is not needed any more.
    Cancelled {
        /// Which one, as it stands in JSON.
        id: Box<str>,
    },
    /// Which changes a listener will hear of.
    Acknowledged,
    /// Something else.
    Other,
}

impl Notice {
    /// Reads a notification. What lacks the members that make it what it claims to be is
    /// something else.
    #[must_use]
    pub fn read(notification: &Request) -> Self {
        let bytes = notification.bytes().clone();
        let tells = Tells::read(notification.method().as_str(), &bytes).unwrap_or(Tells::Other);
        Self { bytes, tells }
    }

    /// Word that a list is another now.
    #[must_use]
    pub fn list_changed(kind: ItemKind) -> Self {
        let list = match kind {
            ItemKind::Tool => "tools",
            ItemKind::Prompt => "prompts",
            ItemKind::Resource | ItemKind::Template => "resources",
        };
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed","params":{{}}}}"#
        );
        Self { bytes: text.into(), tells: Tells::ListChanged(kind) }
    }

    /// Word that a resource is another now.
    #[must_use]
    pub fn updated(uri: &str) -> Self {
        let quoted = serde_json::to_string(uri).expect("text is always JSON");
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":{quoted}}}}}"#
        );
        Self { bytes: text.into(), tells: Tells::Updated { uri: uri.into() } }
    }

    /// Word that a request is not needed any more. The id is as it stands in JSON.
    #[must_use]
    pub fn cancelled(id: &str, reason: &str) -> Self {
        let reason = serde_json::to_string(reason).expect("text is always JSON");
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":{reason}}}}}"#
        );
        Self { bytes: text.into(), tells: Tells::Cancelled { id: id.into() } }
    }

    /// Word of how far a task has come: the task as an object, as JSON.
    #[must_use]
    pub fn task(task: &str) -> Self {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{task}}}"#);
        Self { bytes: text.into(), tells: Tells::Task }
    }

    /// Which changes a listener will hear of: the filter, as JSON.
    #[must_use]
    pub fn acknowledged(filter: &str) -> Self {
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{filter}}}}}"#
        );
        Self { bytes: text.into(), tells: Tells::Acknowledged }
    }

    /// What it tells.
    #[must_use]
    pub const fn tells(&self) -> &Tells {
        &self.tells
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The number of the request whose progress it tells, if it is one the gateway gave.
    #[must_use]
    pub fn token(&self) -> Option<u64> {
        let Tells::Progress { token } = self.tells else { return None };
        let text = token.text(&self.bytes).trim_matches('"');
        text.strip_suffix(".0").unwrap_or(text).parse().ok()
    }

    /// The same word of progress under another token, as it stands in JSON.
    #[must_use]
    pub fn under_token(mut self, new: &str) -> Self {
        if let Tells::Progress { token } = self.tells {
            self.bytes = splice(&self.bytes, &[(token, new.as_bytes())]);
            self.tells = Tells::Progress {
                token: Span { start: token.start, end: token.start + new.len() },
            };
        }
        self
    }

    /// The bytes as a listener hears them: marked with the id of the request that listens.
    #[must_use]
    pub fn for_listener(&self, id: &RawId) -> Bytes {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        let mark = format!(r#""_meta":{{"{}":{id}}}"#, meta::SUBSCRIPTION_ID);
        let whole: Option<Whole<'_>> = serde_json::from_slice(&self.bytes).ok();
        let Some(params) = whole.and_then(|whole| whole.params) else { return self.bytes.clone() };
        // Notices for listeners are the gateway's own, and have no `_meta` yet.
        let start = Span::of(&self.bytes, params).start + 1;
        let comma = if params.get().trim_start_matches('{').trim() == "}" { "" } else { "," };
        let mark = format!("{mark}{comma}");
        splice(&self.bytes, &[(Span { start, end: start }, mark.as_bytes())])
    }
}

impl Tells {
    fn read(method: &str, bytes: &Bytes) -> Option<Self> {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            params: Option<Params<'a>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            #[serde(borrow)]
            progress_token: Option<&'a RawValue>,
            #[serde(borrow)]
            request_id: Option<&'a RawValue>,
            #[serde(borrow)]
            level: Option<Cow<'a, str>>,
            #[serde(borrow)]
            uri: Option<Cow<'a, str>>,
        }
        let params = || serde_json::from_slice::<Whole<'_>>(bytes).ok()?.params;
        Some(match method {
            "notifications/tools/list_changed" => Self::ListChanged(ItemKind::Tool),
            "notifications/prompts/list_changed" => Self::ListChanged(ItemKind::Prompt),
            "notifications/resources/list_changed" => Self::ListChanged(ItemKind::Resource),
            "notifications/subscriptions/acknowledged" => Self::Acknowledged,
            "notifications/progress" => {
                Self::Progress { token: Span::of(bytes, params()?.progress_token?) }
            }
            "notifications/message" => Self::Message { level: params()?.level?.parse().ok()? },
            "notifications/resources/updated" => Self::Updated { uri: (*params()?.uri?).into() },
            "notifications/cancelled" => Self::Cancelled { id: params()?.request_id?.get().into() },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    fn read(text: &'static str) -> Notice {
        match Message::parse(&Bytes::from_static(text.as_bytes())) {
            Ok(Message::Notification(notification)) => Notice::read(&notification),
            other => panic!("no notification: {other:?}"),
        }
    }

    #[test]
    fn progress_goes_on_under_the_clients_own_token() {
        let told = read(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"x":1.0,"progressToken": 7,"progress":0.5}}"#,
        );
        assert_eq!(told.token(), Some(7));

        let told = told.under_token(r#""a longer one""#);

        let text = String::from_utf8_lossy(told.bytes());
        assert!(text.contains(r#"{"x":1.0,"progressToken": "a longer one","progress":0.5}"#));
        assert_eq!(told.token(), None);
    }

    #[test]
    fn knows_what_a_notice_tells() {
        let message = read(
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","data":1}}"#,
        );
        let changed = read(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
        let odd = read(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#);

        assert_eq!(*message.tells(), Tells::Message { level: Level::Warning });
        assert_eq!(*changed.tells(), Tells::ListChanged(ItemKind::Tool));
        assert_eq!(*odd.tells(), Tells::Other);
    }

    #[test]
    fn a_listener_hears_which_of_its_requests_it_is_about() {
        let id = RawId::read(r#""a""#);

        let changed = Notice::list_changed(ItemKind::Tool).for_listener(&id);
        let updated = Notice::updated("a://b").for_listener(&id);

        let mark = r#""_meta":{"io.modelcontextprotocol/subscriptionId":"a"}"#;
        assert!(String::from_utf8_lossy(&changed).ends_with(&format!("{{{mark}}}}}")));
        assert!(
            String::from_utf8_lossy(&updated).ends_with(&format!(r#"{{{mark},"uri":"a://b"}}}}"#))
        );
    }
}
