//! Tollhouse, the MCP gateway in one binary: the map of the house.
//!
//! Rooms stand on steps. A room uses rooms on lower steps; never one beside it, never one above.
//! A blank line separates two steps. `tests/architecture.rs` reads the order from here.
//!
//! A call comes in at `edge`, walks through `pipeline` once, and leaves by `edge` again:
//!
//! ```text
//! edge → authenticate → find → authorize → admit → route → forward → filter → reply
//! ```

pub mod domain;

pub mod problem;

pub mod wire;

pub mod client;
mod store;

mod observe;

mod access;
mod upstream;

mod links;
mod registry;
mod trust;

mod traffic;

mod catalog;

mod pipeline;

mod edge;

mod admin;

mod config;

pub mod app;

#[expect(clippy::large_futures, reason = "a command is carried out once")]
pub mod cli;
