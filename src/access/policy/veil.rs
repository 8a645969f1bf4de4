//! The veil: what of the catalog a caller may know of.

use std::{cell::OnceCell, sync::Arc};

use super::{Arguments, Client, Facts, ItemFacts, Page, Ruleset, Timestamp, server_facts};
use crate::{
    access::{Access, Caller},
    domain::{Annotations, ItemKind, Principal, Scope, Server},
    wire::Call,
};

/// What somebody may be shown: what no policy keeps from them whatever the arguments of a call
/// would be. Where there are no policies it shows everything, and asks nobody.
pub(crate) struct Veil<'a> {
    rules: Rules,
    page: Option<Arc<Page>>,
    principal: &'a Principal,
    scope: &'a Scope,
    client: &'a Client,
    now: Timestamp,
}

enum Rules {
    /// There are none.
    None,
    /// These.
    These(Arc<Ruleset>),
    /// Nobody knows them.
    Unreadable,
}

impl Access {
    /// What a caller may be shown who asks so.
    pub(crate) fn veil<'a>(&self, caller: &'a Caller, call: &'a Call) -> Veil<'a> {
        let page = self.0.rulebook.page.load();
        let rules = match &**page {
            Page::Unreadable => Rules::Unreadable,
            Page::Read(read) => match read.of(caller.principal().organization) {
                Some(rules) => Rules::These(rules.clone()),
                None => Rules::None,
            },
        };
        let page = match rules {
            Rules::These(_) => Some(arc_swap::Guard::into_inner(page)),
            Rules::None | Rules::Unreadable => None,
        };
        let (scope, client, now) = (&call.scope, &call.client, self.0.clock.now());
        Veil { rules, page, principal: caller.principal(), scope, client, now }
    }
}

impl Veil<'_> {
    /// Whether everything is shown.
    pub(crate) const fn is_clear(&self) -> bool {
        matches!(self.rules, Rules::None)
    }

    /// Whether an item of a server is shown; none stands for the gateway's own server.
    pub(crate) fn shows(
        &self,
        server: Option<&Server>,
        (kind, name): (ItemKind, &str),
        annotations: &Annotations,
    ) -> bool {
        self.lets_through(server, Some(ItemFacts { kind, name, annotations }))
    }

    /// Whether it is shown that there is such a server: whether anything it could offer is.
    pub(crate) fn shows_server(&self, server: &Server) -> bool {
        self.lets_through(Some(server), None)
    }

    fn lets_through(&self, server: Option<&Server>, item: Option<ItemFacts<'_>>) -> bool {
        let rules = match &self.rules {
            Rules::None => return true,
            Rules::Unreadable => return false,
            Rules::These(rules) => rules,
        };
        let Some(Page::Read(read)) = self.page.as_deref() else { return false };
        !rules.hides(&Facts {
            principal: self.principal,
            scope: self.scope,
            client: self.client,
            server: server_facts(server, &read.namespaces),
            item,
            is_completion: false,
            arguments: Arguments::Unknown,
            now: self.now,
            read: OnceCell::new(),
        })
    }
}
