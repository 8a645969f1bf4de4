//! Health: how servers were found to be, as the calls that reach them tell it.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::{
    domain::{Health, Server, ServerId},
    registry::Registry,
};

/// What is known of each server's health.
#[derive(Debug, Default)]
pub(super) struct Book(RwLock<HashMap<ServerId, Health>>);

impl Registry {
    /// How a server was found to be.
    pub(crate) fn health(&self, server: &ServerId) -> Health {
        self.0.health.0.read().get(server).cloned().unwrap_or_default()
    }

    /// A server answered.
    pub(crate) fn answered(&self, server: &Server) {
        if self.0.health.0.read().get(&server.id) == Some(&Health::Healthy) {
            return;
        }
        let mut book = self.0.health.0.write();
        if !self.is_kept(server) {
            return;
        }
        let before = book.insert(server.id, Health::Healthy);
        drop(book);
        self.0.metrics.healthy(&server.name, 1);
        if let Some(Health::Unhealthy { since, .. }) = before {
            tracing::info!(server = %server.name, %since, "{} answers again", server.name);
        }
    }

    /// A server did not answer, and why.
    pub(crate) fn failed(&self, server: &Server, reason: &str) {
        let mut book = self.0.health.0.write();
        if !self.is_kept(server) {
            return;
        }
        if let Some(Health::Unhealthy { reason: known, .. }) = book.get_mut(&server.id) {
            reason.clone_into(known);
            return;
        }
        let since = self.0.clock.now();
        book.insert(server.id, Health::Unhealthy { reason: reason.to_owned(), since });
        drop(book);
        self.0.metrics.healthy(&server.name, 0);
        tracing::warn!(server = %server.name, reason, "{} does not answer", server.name);
    }

    /// Whether a server has a page in the book: a call may end after its server was retired. To be
    /// asked while the book is held, which is how pages are torn out.
    fn is_kept(&self, server: &Server) -> bool {
        self.directory().has(&server.id)
    }

    pub(super) fn forget_health(&self, server: &Server) {
        self.0.health.0.write().remove(&server.id);
        self.0.metrics.forget(&server.name);
    }
}
