//! The counter where clients get leave to act for people, and tokens for it.

mod authorize;
mod metadata;
mod page;
mod token;

pub(super) use self::{
    authorize::authorize,
    metadata::{resource, resource_at, server, server_at},
    token::{exchange, list, register, revoke, take_back},
};
