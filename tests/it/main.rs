//! The house from outside: the real binary, real sockets, real processes.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

mod access;
mod admin;
mod app;
mod app_token;
mod audit;
mod book;
mod cache;
mod cases;
mod catalog;
mod channel;
mod cli;
mod client_documents;
mod consents;
mod discovery;
mod edge;
mod extensions;
mod instances;
mod issuers;
mod keys;
mod links;
mod login;
mod matrix;
mod oauth;
mod observe;
mod outward;
mod pipeline;
mod policy;
mod problem;
mod rate_limits;
mod registry_file;
mod routes;
mod rpc;
mod sessions;
mod sign_in;
mod tasks;
mod tenants;
mod trust;
mod upstream_oauth;
mod warden;
