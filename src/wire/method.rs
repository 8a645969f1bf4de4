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
            Self::Other(_) => "other",
        }
    }

    /// Whether the stateless revision has this method.
    #[must_use]
    pub const fn is_modern(&self) -> bool {
        !matches!(self, Self::Initialize | Self::Ping | Self::Other(_))
    }

    /// Whether older revisions may have this method.
    #[must_use]
    pub const fn is_legacy(&self) -> bool {
        !matches!(self, Self::Discover)
    }

    /// Where a request of this method names its item.
    #[must_use]
    pub const fn subject_member(&self) -> Option<SubjectMember> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some(SubjectMember::Name),
            Self::ResourcesRead => Some(SubjectMember::Uri),
            Self::Complete => Some(SubjectMember::Reference),
            _ => None,
        }
    }

    /// Whether the subject also stands in the `Mcp-Name` header.
    #[must_use]
    pub const fn has_name_header(&self) -> bool {
        matches!(self, Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead)
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
