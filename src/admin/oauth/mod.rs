//! The counter where clients get leave to act for people, and tokens for it.

mod authorize;
mod consents;
mod metadata;
mod page;
mod token;

pub(super) use self::{
    authorize::authorize,
    consents::{list, take_back},
    metadata::{resource, resource_at, server, server_at},
    token::{exchange, register, revoke},
};
