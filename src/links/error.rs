//! Why nobody is signed in at a server.

use crate::{
    problem::{Classify, Kind},
    store,
    upstream::oauth,
};

/// Why nobody is signed in at a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// They did not, or are not any more.
    #[error("{server}: you use it with an account of your own; sign in there first: {url}")]
    MustSignIn {
        /// At which.
        server: String,
        /// Where they do.
        url: String,
    },
    /// Whoever calls is no person.
    #[error("this server is used with accounts of people; call with a sign-in or key of a person")]
    Nobody,
    /// Whoever calls brought no token that could be exchanged.
    #[error("this server is used with tokens of your identity provider; call with one of those")]
    NotFederated,
    /// A server that nobody needs to sign in at.
    #[error("{0} needs no account of anybody's")]
    NeedsNone(String),
    /// No link of that id.
    #[error("there is no link {0:?}")]
    NoSuchLink(String),
    /// What came back belongs to nothing that was begun.
    #[error("this sign-in was not begun here, took too long, or was finished already")]
    NotBegun,
    /// What came back was begun by somebody else.
    #[error("this sign-in was begun by somebody else; begin your own")]
    Others,
    /// What came back is not from whom it should be.
    #[error("the answer does not come from where you were sent")]
    OtherIssuer,
    /// They, or whoever gives the tokens, said no.
    #[error("whoever gives its tokens said no: {0}")]
    Denied(oauth::Code),
    /// As many as there may be.
    #[error("too many people sign in at servers at this moment; try again in a minute")]
    Busy,
    /// As many as there may be.
    #[error("there are {0} links already, which is the limit links.max_links")]
    TooMany(usize),
    /// The gateway is not known there.
    #[error(
        "its issuer takes no registration; register the gateway there with the redirect URI {0}, \
         and name its client_id in the server's auth"
    )]
    NoClient(String),
    /// Whoever gives tokens does not, or cannot be found.
    #[error(transparent)]
    Failed(#[from] oauth::Failure),
    /// The store could not be read or written.
    #[error("the store did not take it")]
    Store(#[from] store::Error),
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::MustSignIn { .. } | Self::Nobody | Self::NotFederated | Self::Others => {
                Kind::Forbidden
            }
            Self::NeedsNone(_) | Self::NotBegun | Self::OtherIssuer | Self::Denied(_) => {
                Kind::Invalid
            }
            Self::NoSuchLink(_) => Kind::NotFound,
            Self::Busy | Self::TooMany(_) => Kind::Limited,
            Self::NoClient(_) => Kind::Conflict,
            Self::Failed(_) => Kind::Upstream,
            Self::Store(error) => error.kind(),
        }
    }
}
