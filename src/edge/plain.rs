//! The doors for clients that know no MCP transport: one request, one answer, nothing before it.

use http::Method as Verb;

use crate::{
    domain::{ItemKind, Scope},
    wire::Method,
};

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plain {
    /// JSON-RPC: one message, or an array of them.
    Rpc(Scope),
    /// JSON-RPC whose params say which server is meant.
    RpcByParam,
    /// JSON-RPC: an array of messages.
    Batch(Scope),
    /// Which methods there are.
    Introspection,
    /// One method of MCP, as REST.
    Facade(Facade),
}

/// A method of MCP at one server, as REST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facade {
    /// The server's name or id.
    pub(super) server: Box<str>,
    /// What is asked.
    pub(super) ask: Ask,
}

/// What the facade asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// All items of a kind.
    List(ItemKind),
    /// To use one item of a kind.
    Use(ItemKind),
}

impl Plain {
    /// What a path asks for, if it is one of these doors.
    pub(super) fn find(path: &str) -> Option<Self> {
        match path {
            "/rpc" => return Some(Self::Rpc(Scope::Everything)),
            "/rpc/batch" => return Some(Self::Batch(Scope::Everything)),
            "/rpc/introspection" => return Some(Self::Introspection),
            "/mcp/rpc" => return Some(Self::RpcByParam),
            _ => {}
        }
        if let Some(rest) = path.strip_prefix("/servers/") {
            let (server, door) = rest.split_once('/').filter(|(server, _)| !server.is_empty())?;
            let scope = Scope::Server(server.into());
            return match door {
                "rpc" => Some(Self::Rpc(scope)),
                "rpc/batch" => Some(Self::Batch(scope)),
                _ => None,
            };
        }
        let (server, method) = path.strip_prefix("/mcp/")?.split_once('/')?;
        let ask = match method {
            "tools/list" => Ask::List(ItemKind::Tool),
            "tools/call" => Ask::Use(ItemKind::Tool),
            "resources/list" => Ask::List(ItemKind::Resource),
            "resources/read" => Ask::Use(ItemKind::Resource),
            "prompts/list" => Ask::List(ItemKind::Prompt),
            "prompts/get" => Ask::Use(ItemKind::Prompt),
            _ => return None,
        };
        (!server.is_empty()).then(|| Self::Facade(Facade { server: server.into(), ask }))
    }

    /// The endpoint that stands behind the door.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Rpc(scope) | Self::Batch(scope) => scope.clone(),
            Self::RpcByParam | Self::Introspection => Scope::Everything,
            Self::Facade(facade) => Scope::Server(facade.server.clone()),
        }
    }

    /// The one HTTP method it takes.
    pub(super) const fn verb(&self) -> Verb {
        match self {
            Self::Introspection | Self::Facade(Facade { ask: Ask::List(_), .. }) => Verb::GET,
            _ => Verb::POST,
        }
    }
}

impl Ask {
    /// The method of MCP for it.
    pub(super) const fn method(self) -> Method {
        match self {
            Self::List(ItemKind::Tool) => Method::ToolsList,
            Self::List(ItemKind::Prompt) => Method::PromptsList,
            Self::List(ItemKind::Resource) => Method::ResourcesList,
            Self::List(ItemKind::Template) => Method::TemplatesList,
            Self::Use(ItemKind::Tool) => Method::ToolsCall,
            Self::Use(ItemKind::Prompt) => Method::PromptsGet,
            Self::Use(ItemKind::Resource | ItemKind::Template) => Method::ResourcesRead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_door() {
        let time = || Scope::Server("time".into());
        let facade = |ask| Some(Plain::Facade(Facade { server: "time".into(), ask }));

        assert_eq!(Plain::find("/rpc"), Some(Plain::Rpc(Scope::Everything)));
        assert_eq!(Plain::find("/servers/time/rpc"), Some(Plain::Rpc(time())));
        assert_eq!(Plain::find("/servers/time/rpc/batch"), Some(Plain::Batch(time())));
        assert_eq!(Plain::find("/mcp/rpc"), Some(Plain::RpcByParam));
        assert_eq!(Plain::find("/mcp/time/tools/list"), facade(Ask::List(ItemKind::Tool)));
        assert_eq!(Plain::find("/mcp/time/resources/read"), facade(Ask::Use(ItemKind::Resource)));
        for other in ["/mcp/time", "/mcp//tools/list", "/servers//rpc", "/servers/a/b/rpc", "/rpc/"]
        {
            assert_eq!(Plain::find(other), None, "{other}");
        }
    }
}
