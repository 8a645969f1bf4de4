//! Ways to a channel: which paths lead to one, and to what one sees through it.

use http::Method as Verb;

use crate::domain::Scope;

/// A way to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Way {
    /// A WebSocket.
    Socket,
    /// The stream of HTTP+SSE, on which the gateway speaks.
    Stream,
    /// Where a client of HTTP+SSE speaks.
    Post,
}

impl Way {
    /// The way a path is, and the endpoint it leads to, if it is one.
    pub(in crate::edge) fn of(path: &str) -> Option<(Self, Scope)> {
        let (place, last) = path.rsplit_once('/')?;
        let way = match last {
            "ws" => Self::Socket,
            "sse" => Self::Stream,
            "message" => Self::Post,
            _ => return None,
        };
        if place.is_empty() {
            return Some((way, Scope::Everything));
        }
        let scope = match place.strip_prefix("/servers/") {
            Some(server) if !server.is_empty() && !server.contains('/') => {
                Scope::Server(server.into())
            }
            Some(_) => return None,
            None => Scope::Namespace(place.strip_prefix("/mcp/")?.parse().ok()?),
        };
        Some((way, scope))
    }

    /// The method it takes.
    pub(in crate::edge) const fn verb(self) -> Verb {
        match self {
            Self::Socket | Self::Stream => Verb::GET,
            Self::Post => Verb::POST,
        }
    }

    /// What it is called in the journal.
    pub(in crate::edge) const fn name(self) -> &'static str {
        match self {
            Self::Socket => "websocket",
            Self::Stream | Self::Post => "sse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_ways_to_every_endpoint() {
        assert_eq!(Way::of("/ws"), Some((Way::Socket, Scope::Everything)));
        assert_eq!(Way::of("/sse"), Some((Way::Stream, Scope::Everything)));
        let time = Scope::Server("time".into());
        assert_eq!(Way::of("/servers/time/message"), Some((Way::Post, time)));
        let team = Scope::Namespace("team".parse().expect("a slug"));
        assert_eq!(Way::of("/mcp/team/ws"), Some((Way::Socket, team)));

        for other in ["/", "ws", "/ws/", "/ws/status", "//ws", "/servers//ws", "/servers/a/b/ws"] {
            assert_eq!(Way::of(other), None, "{other}");
        }
        for other in ["/servers/ws", "/mcp/ws", "/mcp//ws", "/mcp/a/b/ws", "/x/ws"] {
            assert_eq!(Way::of(other), None, "{other}");
        }
    }
}
