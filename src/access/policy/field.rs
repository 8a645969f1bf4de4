//! Fields: what a rule may look at, and where the facts of a call are.

use std::{borrow::Cow, cell::OnceCell, collections::HashMap};

use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::strict;
use crate::{
    domain::{Annotations, ItemKind, Principal, PrincipalKind, Role, Scope, ServerId, Timestamp},
    wire::{Client, Method, Request},
};

/// Every field, for those who look for one.
pub(super) const NAMES: &str = "caller.kind, caller.id, caller.user, caller.role, caller.organization, \
    endpoint, namespace, server.name, server.id, server.tags, item.kind, item.name, tool.name, prompt.name, \
    resource.uri, tool.annotations.readOnlyHint, .destructiveHint, .idempotentHint, \
    .openWorldHint and .title, method, arguments.…, client.name, client.revision, transport, \
    time.hour, time.weekday and time.date";

const METHODS: &[&str] =
    &["tools/call", "prompts/get", "resources/read", "completion/complete", "http/request"];
const WEEKDAYS: &[&str] =
    &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// What [`Client::via`] says.
pub(super) const TRANSPORTS: &[&str] = &["http", "unix", "sse", "websocket"];
const KINDS: &[&str] = &["tool", "prompt", "resource", "resource template"];

/// Something that a rule looks at.
#[derive(Debug, Clone)]
pub(super) enum Field {
    CallerKind,
    CallerId,
    CallerRole,
    CallerUser,
    CallerOrganization,
    Endpoint,
    Namespace,
    ServerName,
    ServerId,
    ServerTags,
    ItemKind,
    ItemName,
    ToolName,
    PromptName,
    ResourceUri,
    ReadOnly,
    Destructive,
    Idempotent,
    OpenWorld,
    Title,
    Method,
    /// The members that lead to it.
    Argument(Box<[Box<str>]>),
    ClientName,
    ClientRevision,
    Transport,
    Hour(TimeZone),
    Weekday(TimeZone),
    Date(TimeZone),
}

/// What a field can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Any text.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// The name of a role.
    Role,
    /// `2026-11-25`.
    Date,
    /// A whole number from 0 to 23.
    Hour,
    /// True or false.
    Flag,
    /// One of the words there are.
    Words,
    /// Any JSON: a client decides what it is.
    Anything,
}

impl Field {
    /// The field of that name; times are those of `zone`.
    pub(super) fn named(name: &str, zone: &TimeZone) -> Option<Self> {
        if let Some(path) = name.strip_prefix("arguments/") {
            let unescaped = |name: &str| name.replace("~1", "/").replace("~0", "~").into();
            return Some(Self::Argument(path.split('/').map(unescaped).collect()));
        }
        if let Some(path) = name.strip_prefix("arguments.") {
            let is_whole = path.split('.').all(|name| !name.is_empty());
            return is_whole.then(|| Self::Argument(path.split('.').map(Into::into).collect()));
        }
        let name = name
            .strip_prefix("principal.")
            .map_or(Cow::Borrowed(name), |rest| Cow::Owned(format!("caller.{rest}")));
        Some(match &*name {
            "caller.kind" => Self::CallerKind,
            "caller.id" => Self::CallerId,
            "caller.user" | "user" | "user_id" => Self::CallerUser,
            "caller.role" | "role" => Self::CallerRole,
            "caller.organization" | "org" | "organization_id" => Self::CallerOrganization,
            "endpoint" => Self::Endpoint,
            "namespace" => Self::Namespace,
            "server.name" => Self::ServerName,
            "server.id" => Self::ServerId,
            "server.tags" => Self::ServerTags,
            "item.kind" => Self::ItemKind,
            "item.name" => Self::ItemName,
            "tool.name" => Self::ToolName,
            "prompt.name" => Self::PromptName,
            "resource.uri" => Self::ResourceUri,
            "tool.annotations.readOnlyHint" => Self::ReadOnly,
            "tool.annotations.destructiveHint" => Self::Destructive,
            "tool.annotations.idempotentHint" => Self::Idempotent,
            "tool.annotations.openWorldHint" => Self::OpenWorld,
            "tool.annotations.title" => Self::Title,
            "method" => Self::Method,
            "client.name" => Self::ClientName,
            "client.revision" => Self::ClientRevision,
            "transport" => Self::Transport,
            "time.hour" => Self::Hour(zone.clone()),
            "time.weekday" => Self::Weekday(zone.clone()),
            "time.date" => Self::Date(zone.clone()),
            _ => return None,
        })
    }

    /// The members that lead to the argument it is, where it is one.
    pub(super) fn of_argument(name: &str) -> Option<Box<[Box<str>]>> {
        match Self::named(name, &TimeZone::UTC) {
            Some(Self::Argument(path)) => Some(path),
            _ => None,
        }
    }

    /// Whether it depends on a time zone.
    pub(super) const fn is_time(&self) -> bool {
        matches!(self, Self::Hour(_) | Self::Weekday(_) | Self::Date(_))
    }

    /// What it can be compared with.
    pub(super) const fn takes(&self) -> Takes {
        match self {
            Self::CallerKind => Takes::OneOf(&PrincipalKind::WORDS),
            Self::CallerRole => Takes::Role,
            Self::ItemKind => Takes::OneOf(KINDS),
            Self::Method => Takes::OneOf(METHODS),
            Self::Transport => Takes::OneOf(TRANSPORTS),
            Self::Weekday(_) => Takes::OneOf(WEEKDAYS),
            Self::Date(_) => Takes::Date,
            Self::Hour(_) => Takes::Hour,
            Self::ReadOnly | Self::Destructive | Self::Idempotent | Self::OpenWorld => Takes::Flag,
            Self::ServerTags => Takes::Words,
            Self::Argument(_) => Takes::Anything,
            _ => Takes::Text,
        }
    }
}

impl Takes {
    /// Whether this is a value the field could have.
    pub(super) fn admits(self, value: &Json) -> bool {
        match (self, value) {
            (Self::Anything, _)
            | (Self::Text | Self::Words, Json::String(_))
            | (Self::Flag, Json::Bool(_)) => true,
            (Self::OneOf(words), Json::String(text)) => words.contains(&&**text),
            (Self::Role, Json::String(text)) => text.parse::<Role>().is_ok(),
            (Self::Date, Json::String(text)) => {
                text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
            }
            (Self::Hour, Json::Number(number)) => number.as_u64().is_some_and(|hour| hour < 24),
            _ => false,
        }
    }

    /// What it can be compared with, in words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::Role => format!("one of {}", Role::ALL.map(Role::as_str).join(", ")),
            Self::Date => "a date such as 2026-11-25".to_owned(),
            Self::Hour => "a whole number from 0 to 23".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Words => "a word".to_owned(),
            Self::Anything => "any value".to_owned(),
        }
    }

    /// Whether its values are texts, or may be.
    pub(super) const fn is_text(self) -> bool {
        !matches!(self, Self::Hour | Self::Flag | Self::Words)
    }
}

/// What is known of a call before it is made, or of a call that could be made.
pub(super) struct Facts<'a> {
    pub(super) principal: &'a Principal,
    pub(super) scope: &'a Scope,
    pub(super) client: &'a Client,
    pub(super) server: ServerFacts<'a>,
    /// Which item; none where all of the server's are meant.
    pub(super) item: Option<ItemFacts<'a>>,
    pub(super) is_completion: bool,
    pub(super) arguments: Arguments<'a>,
    pub(super) now: Timestamp,
    /// The arguments, once somebody has looked at them.
    pub(super) read: OnceCell<Result<Json, &'static str>>,
}

/// What is known of a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerFacts<'a> {
    pub(super) name: &'a str,
    pub(super) id: Option<ServerId>,
    pub(super) namespace: Option<&'a str>,
    pub(super) tags: &'a [String],
}

/// What is known of an item.
#[derive(Debug, Clone, Copy)]
pub(super) struct ItemFacts<'a> {
    pub(super) kind: ItemKind,
    pub(super) name: &'a str,
    pub(super) annotations: &'a Annotations,
}

/// Where the arguments of a call are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arguments<'a> {
    /// Nobody knows what they will be.
    Unknown,
    /// In a request that was made.
    In(&'a Request),
    /// Here.
    Given(Option<&'a Json>),
    /// Those that the journal keeps of a call, by the members that lead to them.
    Kept(&'a HashMap<Box<[Box<str>]>, Json>),
}

/// What a field holds.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    /// It is not known yet: nobody has made the call.
    Unknown,
    /// The call has no such thing.
    Missing,
    /// It cannot be read, or two readers would read it differently.
    Unreadable(&'static str),
    Text(Cow<'a, str>),
    Number(i64),
    Flag(bool),
    Json(&'a Json),
    /// Several words, any of which may be meant.
    Words(&'a [String]),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl Facts<'_> {
    /// What a field holds.
    pub(super) fn value(&self, field: &Field) -> Value<'_> {
        match field {
            Field::CallerKind => self.principal.kind.word().into(),
            Field::CallerId => Value::Text(self.principal.kind.to_string().into()),
            Field::CallerRole => self.principal.role.as_str().into(),
            Field::CallerUser => self
                .principal
                .person
                .map_or(Value::Missing, |person| Value::Text(person.to_string().into())),
            Field::CallerOrganization => {
                Value::Text(self.principal.organization.to_string().into())
            }
            Field::Endpoint => Value::Text(self.endpoint().into()),
            Field::Namespace => self.server.namespace.map_or(Value::Missing, Into::into),
            Field::ServerName => self.server.name.into(),
            Field::ServerId => {
                self.server.id.map_or(Value::Missing, |id| Value::Text(id.to_string().into()))
            }
            Field::ServerTags => match self.server.tags {
                [] => Value::Missing,
                tags => Value::Words(tags),
            },
            Field::ItemKind => self.of_item(|item| item.kind.as_str().into()),
            Field::ItemName => self.of_item(|item| item.name.into()),
            Field::ToolName => self.name_of(ItemKind::Tool),
            Field::PromptName => self.name_of(ItemKind::Prompt),
            Field::ResourceUri => self.of_item(|item| match item.kind {
                ItemKind::Resource | ItemKind::Template => item.name.into(),
                ItemKind::Tool | ItemKind::Prompt => Value::Missing,
            }),
            Field::ReadOnly => self.hint(Annotations::is_read_only),
            Field::Destructive => self.hint(Annotations::is_destructive),
            Field::Idempotent => self.hint(Annotations::is_idempotent),
            Field::OpenWorld => self.hint(Annotations::is_open_world),
            Field::Title => self.of_item(|item| {
                item.annotations.title.as_deref().map_or(Value::Missing, Into::into)
            }),
            Field::Method => self.of_item(|item| self.method(item.kind).into()),
            Field::Argument(path) => self.argument(path),
            Field::ClientName => self.client.name.as_deref().map_or(Value::Missing, Into::into),
            Field::ClientRevision => self.client.revision.as_str().into(),
            Field::Transport => self.client.via.into(),
            Field::Hour(zone) => self.time(zone, |now| Value::Number(now.hour().into())),
            Field::Weekday(zone) => self.time(zone, |now| {
                let days = usize::try_from(now.weekday().to_monday_zero_offset());
                days.ok()
                    .and_then(|day| WEEKDAYS.get(day))
                    .map_or(Value::Missing, |day| (*day).into())
            }),
            Field::Date(zone) => self.time(zone, |now| Value::Text(now.date().to_string().into())),
        }
    }

    /// Whether a request of HTTP is carried, by the route that is called in place of a tool.
    fn is_exchange(&self) -> bool {
        matches!(self.arguments, Arguments::In(request) if *request.method() == Method::Exchange)
    }

    fn endpoint(&self) -> String {
        match &self.item {
            Some(item) if self.is_exchange() => format!("/proxy/{}", item.name),
            _ => self.scope.to_string(),
        }
    }

    fn of_item<'f>(&'f self, value: impl FnOnce(&ItemFacts<'f>) -> Value<'f>) -> Value<'f> {
        self.item.as_ref().map_or(Value::Unknown, value)
    }

    fn name_of(&self, kind: ItemKind) -> Value<'_> {
        self.of_item(|item| if item.kind == kind { item.name.into() } else { Value::Missing })
    }

    fn hint(&self, hint: fn(&Annotations) -> bool) -> Value<'_> {
        self.of_item(|item| match item.kind {
            ItemKind::Tool => Value::Flag(hint(item.annotations)),
            _ => Value::Missing,
        })
    }

    fn method(&self, kind: ItemKind) -> &'static str {
        match kind {
            _ if self.is_exchange() => "http/request",
            _ if self.is_completion => "completion/complete",
            ItemKind::Tool => "tools/call",
            ItemKind::Prompt => "prompts/get",
            ItemKind::Resource | ItemKind::Template => "resources/read",
        }
    }

    fn argument(&self, path: &[Box<str>]) -> Value<'_> {
        let whole = match self.arguments {
            Arguments::Unknown => return Value::Unknown,
            Arguments::Given(None) => return Value::Missing,
            Arguments::Given(Some(given)) => given,
            Arguments::Kept(kept) => {
                return match kept.get(path) {
                    None => Value::Unknown,
                    Some(Json::Null) => Value::Missing,
                    Some(value) => Value::Json(value),
                };
            }
            Arguments::In(request) => match self.read.get_or_init(|| strict::arguments(request)) {
                Ok(read) => read,
                Err(reason) => return Value::Unreadable(reason),
            },
        };
        match strict::find(whole, path) {
            Ok(found) => found.map_or(Value::Missing, Value::Json),
            Err(reason) => Value::Unreadable(reason),
        }
    }

    fn time<'f>(&self, zone: &TimeZone, part: impl FnOnce(&jiff::Zoned) -> Value<'f>) -> Value<'f> {
        match jiff::Timestamp::from_millisecond(self.now.as_ms()) {
            Ok(now) => part(&now.to_zoned(zone.clone())),
            Err(_) => Value::Unreadable("the time is beyond the calendar"),
        }
    }
}
