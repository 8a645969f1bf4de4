//! The counter where clients get leave to act for people, and tokens for it.

mod authorize;
mod connect;
mod consents;
mod links;
mod metadata;
mod page;
mod token;
mod visit;

pub(super) use self::{
    authorize::authorize,
    connect::{come_back, connect},
    consents::{list, take_back},
    links::{client, link, links, unlink},
    metadata::{resource, resource_at, server, server_at},
    token::{exchange, register, revoke},
};
