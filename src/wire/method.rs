//! The methods of MCP, and what each one names.

use std::fmt;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// `server/discover`: what is spoken and offered here.
    Discover,
    /// `tools/list`.
    ToolsList,
    /// `tools/call`.
    ToolsCall,
    /// `prompts/list`.
    PromptsList,
    /// `prompts/get`.
    PromptsGet,
    /// `resources/list`.
    ResourcesList,
    /// `resources/templates/list`.
    TemplatesList,
    /// `resources/read`.
    ResourcesRead,
    /// `completion/complete`.
    Complete,
    /// `initialize`: the handshake of older revisions.
    Initialize,
    /// `ping` of older revisions; inside the gateway, the check that a caller is who they were.
    Ping,
    /// `subscriptions/listen`: word of changes, for as long as somebody listens.
    Listen,
    /// `logging/setLevel` of older revisions.
    SetLevel,
    /// `resources/subscribe` of older revisions.
    Subscribe,
    /// `resources/unsubscribe` of older revisions.
    Unsubscribe,
    /// `tasks/get`: how far a task has come.
    TaskGet,
    /// `tasks/update`: what a task asked for.
    TaskUpdate,
    /// `tasks/cancel`.
    TaskCancel,
    /// `tasks/result` of 2025-11-25: what came of a task, once it has come.
    TaskResult,
    /// `tasks/list` of 2025-11-25.
    TaskList,
    /// A request of HTTP that came by a route, and is no message of MCP. No client can ask for it
    /// by this name.
    Exchange,
    /// A method the gateway does not serve, or a notification.
    Other(Box<str>),
}

/// Where a request says which item it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectMember {
    /// `params.name`.
    Name,
    /// `params.uri`.
    Uri,
    /// `params.ref.name` or `params.ref.uri`.
    Reference,
    /// `params.taskId`.
    Task,
}

impl Method {
    /// Reads a method's name.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "server/discover" => Self::Discover,
            "tools/list" => Self::ToolsList,
            "tools/call" => Self::ToolsCall,
            "prompts/list" => Self::PromptsList,
            "prompts/get" => Self::PromptsGet,
            "resources/list" => Self::ResourcesList,
            "resources/templates/list" => Self::TemplatesList,
            "resources/read" => Self::ResourcesRead,
            "completion/complete" => Self::Complete,
            "initialize" => Self::Initialize,
            "ping" => Self::Ping,
            "subscriptions/listen" => Self::Listen,
            "logging/setLevel" => Self::SetLevel,
            "resources/subscribe" => Self::Subscribe,
            "resources/unsubscribe" => Self::Unsubscribe,
            "tasks/get" => Self::TaskGet,
            "tasks/update" => Self::TaskUpdate,
            "tasks/cancel" => Self::TaskCancel,
            "tasks/result" => Self::TaskResult,
            "tasks/list" => Self::TaskList,
            _ => Self::Other(name.into()),
        }
    }

    /// The method's name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => known.label(),
        }
    }

    /// The name for metrics: one of few values, whatever clients send.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Discover => "server/discover",
            Self::ToolsList => "tools/list",
            Self::ToolsCall => "tools/call",
            Self::PromptsList => "prompts/list",
            Self::PromptsGet => "prompts/get",
            Self::ResourcesList => "resources/list",
            Self::TemplatesList => "resources/templates/list",
            Self::ResourcesRead => "resources/read",
            Self::Complete => "completion/complete",
            Self::Initialize => "initialize",
            Self::Ping => "ping",
            Self::Listen => "subscriptions/listen",
            Self::SetLevel => "logging/setLevel",
            Self::Subscribe => "resources/subscribe",
            Self::Unsubscribe => "resources/unsubscribe",
            Self::TaskGet => "tasks/get",
            Self::TaskUpdate => "tasks/update",
            Self::TaskCancel => "tasks/cancel",
            Self::TaskResult => "tasks/result",
            Self::TaskList => "tasks/list",
            Self::Exchange => "http/request",
            Self::Other(_) => "other",
        }
    }

    /// Whether the stateless revision has this method.
    #[must_use]
    pub const fn is_modern(&self) -> bool {
        !matches!(
            self,
            Self::Initialize
                | Self::Ping
                | Self::SetLevel
                | Self::Subscribe
                | Self::Unsubscribe
                | Self::TaskResult
                | Self::TaskList
                | Self::Exchange
                | Self::Other(_)
        )
    }

    /// Whether older revisions may have this method.
    #[must_use]
    pub const fn is_legacy(&self) -> bool {
        !matches!(self, Self::Discover | Self::Listen | Self::TaskUpdate)
    }

    /// Where a request of this method names its item.
    #[must_use]
    pub const fn subject_member(&self) -> Option<SubjectMember> {
        match self {
            Self::ToolsCall | Self::PromptsGet | Self::Exchange => Some(SubjectMember::Name),
            Self::ResourcesRead => Some(SubjectMember::Uri),
            Self::Complete => Some(SubjectMember::Reference),
            Self::TaskGet | Self::TaskUpdate | Self::TaskCancel | Self::TaskResult => {
                Some(SubjectMember::Task)
            }
            _ => None,
        }
    }

    /// Whether the subject also stands in the `Mcp-Name` header.
    #[must_use]
    pub const fn has_name_header(&self) -> bool {
        self.may_ask() || self.is_about_task()
    }

    /// Whether a server may ask for input in place of a result.
    #[must_use]
    pub const fn may_ask(&self) -> bool {
        matches!(self, Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead)
    }

    /// Whether it is about one task, in today's revision.
    #[must_use]
    pub const fn is_about_task(&self) -> bool {
        matches!(self, Self::TaskGet | Self::TaskUpdate | Self::TaskCancel)
    }

    /// Whether results carry `ttlMs` and `cacheScope` in the stateless revision.
    #[must_use]
    pub const fn is_cacheable(&self) -> bool {
        matches!(
            self,
            Self::Discover
                | Self::ToolsList
                | Self::PromptsList
                | Self::ResourcesList
                | Self::TemplatesList
                | Self::ResourcesRead
        )
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for name in ["server/discover", "tools/call", "resources/templates/list", "x/y"] {
            assert_eq!(Method::parse(name).as_str(), name);
        }
        assert_eq!(Method::parse("x/y").label(), "other");
    }
}
