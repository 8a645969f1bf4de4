//! Why a client does not get what it asks for, in the words of RFC 6749 and its kin.

use crate::{
    access,
    problem::{Classify, Kind},
};

/// Why a client is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something is missing, stands there twice, or is not understood.
    #[error("{0}")]
    Request(&'static str),
    /// A client that nobody knows.
    #[error("{0}")]
    Client(&'static str),
    /// Where somebody is to be sent back to is none of the client's addresses.
    #[error("redirect_uri is none of the addresses that this client was registered with")]
    Redirect,
    /// A code or refresh token that is wrong, over, used, or another client's.
    #[error("the code or token is not valid, is over, or was used already")]
    Grant,
    /// A way of getting tokens that there is not.
    #[error("grant_type is neither authorization_code nor refresh_token")]
    GrantType,
    /// An answer that there is not.
    #[error("response_type is not code")]
    ResponseType,
    /// Scopes of which there is none, or more than there were.
    #[error("scope names nothing that can be had here")]
    Scope,
    /// An endpoint that is none of this gateway, or another than was asked for before.
    #[error(
        "resource is not the URL of an MCP endpoint of this gateway, or not the same as before"
    )]
    Target,
    /// An address to be sent back to that is no good.
    #[error("{0}")]
    BadRedirect(&'static str),
    /// A description of a client that is no good.
    #[error("{0}")]
    Metadata(&'static str),
    /// Too many at the same time.
    #[error("too many people are giving leave at this moment")]
    Busy,
    /// The room's own reasons.
    #[error(transparent)]
    Room(#[from] access::Error),
}

impl Error {
    /// The code of the error, as clients read it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::Redirect => "invalid_request",
            Self::Client(_) => "invalid_client",
            Self::Grant => "invalid_grant",
            Self::GrantType => "unsupported_grant_type",
            Self::ResponseType => "unsupported_response_type",
            Self::Scope => "invalid_scope",
            Self::Target => "invalid_target",
            Self::BadRedirect(_) => "invalid_redirect_uri",
            Self::Metadata(_) => "invalid_client_metadata",
            Self::Busy => "temporarily_unavailable",
            Self::Room(error) => match error.kind() {
                Kind::Limited | Kind::Unavailable | Kind::Quota => "temporarily_unavailable",
                Kind::Internal => "server_error",
                _ => "invalid_grant",
            },
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Busy => Kind::Unavailable,
            Self::Room(error) => match error.kind() {
                kind @ (Kind::Limited | Kind::Unavailable | Kind::Quota | Kind::Internal) => kind,
                _ => Kind::Invalid,
            },
            _ => Kind::Invalid,
        }
    }
}
