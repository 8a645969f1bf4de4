//! Finding: from the name a client uses to the item of a server.

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    access::{Caller, Veil},
    catalog::{
        Catalog, Error, View,
        merge::Merged,
        names, owned,
        shelf::{Offer, Place, Shelf},
        template,
    },
    domain::{
        Annotations, Item, ItemKind, Permission, Prefixing, SEPARATOR, Scope, Server, Sight, Slug,
        Target, behaviour,
    },
    wire::{Askable, Call, Method},
};

impl Catalog {
    /// What a call is about. A look-up in memory, but for names that nobody has listed yet.
    /// What policies keep from everybody who asks so is looked up all the same: to deny it is
    /// [`crate::access::Access::authorize`]'s.
    pub(crate) async fn find(
        &self,
        caller: &Caller,
        call: &Call,
        veil: &Veil<'_>,
    ) -> Result<Target, Error> {
        let permission = match call.method() {
            Method::Discover
            | Method::Ping
            | Method::Listen
            | Method::TaskGet
            | Method::TaskUpdate
            | Method::TaskCancel
            | Method::TaskList
            | Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::TemplatesList => {
                return Ok(Target::House { permission: Permission::ItemsList, item: None });
            }
            Method::ToolsCall => Permission::ToolsCall,
            Method::PromptsGet | Method::Complete => Permission::PromptsGet,
            Method::ResourcesRead => Permission::ResourcesRead,
            Method::Initialize
            | Method::SetLevel
            | Method::Subscribe
            | Method::Unsubscribe
            | Method::TaskResult => {
                return Err(Error::NoMethod(call.method().to_string()));
            }
            Method::Exchange => return self.find_lane(caller, call),
            Method::Other(method) => {
                return self.find_extension(&View::of(caller, call), veil, (call, method));
            }
        };
        let kind = sought(call).ok_or_else(|| Error::NoMethod(call.method().to_string()))?;
        let name = call.request.subject().unwrap_or_default();
        self.find_named(&View::of(caller, call), veil, (kind, permission), name).await
    }

    /// The server of a request that came by a route. It is called like a tool of the route's name
    /// that behaves as HTTP says of its method.
    fn find_lane(&self, caller: &Caller, call: &Call) -> Result<Target, Error> {
        let exchange = call.exchange.as_ref().ok_or(Error::NoRoute)?;
        let (directory, sight) = (self.0.registry.directory(), caller.principal().sight());
        let server = directory.find(&sight, exchange.rule().server.as_str());
        let server = server.filter(|server| server.is_plain()).ok_or(Error::NoRoute)?.clone();
        let mut item = Item::named(ItemKind::Tool, exchange.route.name.as_str());
        item.annotations = behaviour(&exchange.verb);
        Ok(Target::Item { server, item, permission: Permission::ToolsCall })
    }

    /// The server of an endpoint of one server, for a method of an extension that both ends know.
    /// It is called like a tool of that name.
    fn find_extension(
        &self,
        view: &View,
        veil: &Veil<'_>,
        (call, method): (&Call, &str),
    ) -> Result<Target, Error> {
        let none = || Error::NoMethod(method.to_owned());
        let Scope::Server(_) = view.scope else { return Err(none()) };
        self.check_endpoint(view, veil)?;
        let merged = self.merged(view)?;
        let offer = merged.offers.first().filter(|offer| {
            let peer = offer.peer.as_deref();
            peer.is_some_and(|peer| call.client.knows_any(&peer.extensions))
        });
        let server = self.current(offer.ok_or_else(none)?.server.clone());
        let item = Item::named(ItemKind::Tool, method);
        Ok(Target::Item { server, item, permission: Permission::ToolsCall })
    }

    /// The resource of that URI at an endpoint.
    pub(crate) async fn find_resource(
        &self,
        view: &View,
        veil: &Veil<'_>,
        uri: &str,
    ) -> Result<Target, Error> {
        let sought = (ItemKind::Resource, Permission::ResourcesRead);
        self.find_named(view, veil, sought, uri).await
    }

    async fn find_named(
        &self,
        view: &View,
        veil: &Veil<'_>,
        (kind, permission): (ItemKind, Permission),
        name: &str,
    ) -> Result<Target, Error> {
        self.check_endpoint(view, veil)?;
        let mut found = self.find_item(view, veil, kind, name).await?;
        if found.is_none()
            && let Some((server, item)) = self.held(view, kind, name)
        {
            let target = Target::Item { server, item, permission };
            return Err(Error::held(target, kind, name));
        }
        if found.is_none() && kind == ItemKind::Template {
            // What is completed may also be a resource that stands in no template.
            found = self.find_item(view, veil, ItemKind::Resource, name).await?;
        }
        let (server, item) = found.ok_or_else(|| Error::unknown(kind, name))?;
        Ok(if owned::is_own(&server) {
            Target::House { permission, item: Some(item) }
        } else {
            // What it offers was asked for before it was changed, perhaps.
            Target::Item { server: self.current(server), item, permission }
        })
    }

    fn current(&self, server: Arc<Server>) -> Arc<Server> {
        self.0.registry.directory().current(server)
    }

    /// What a server's own URIs are called at an endpoint, where any of them goes by another name
    /// there.
    pub(crate) fn outward<'a>(
        &self,
        view: &View,
        server: &'a Server,
    ) -> Option<impl Fn(&str) -> Option<String> + use<'a>> {
        let merged = self.merged(view).ok()?;
        merged.renames(server).then_some(move |uri: &str| merged.outward(server, uri))
    }

    /// Whose a name is, for the tool that explains it.
    pub(super) fn explain(
        &self,
        sight: &Sight,
        (call, veil): (&Call, &Veil<'_>),
        name: &str,
    ) -> Option<(Arc<Server>, Item)> {
        let (sight, askable) = (sight.clone(), call.client.askable());
        let view = View { sight, scope: Scope::Everything, askable };
        let merged = self.merged(&view).ok()?;
        let mut found = ItemKind::ALL.into_iter().filter_map(|kind| in_table(&merged, kind, name));
        found.find(|(server, item)| shows(veil, server, item.kind, (&item.name, &item.annotations)))
    }

    /// An item that a server lists, under the server's own name for it.
    pub(crate) fn known(
        &self,
        sight: &Sight,
        server: &str,
        kind: ItemKind,
        name: &str,
    ) -> Option<Item> {
        let (scope, askable) = (Scope::Server(server.into()), Askable::NOTHING);
        let sight = sight.clone();
        let merged = self.merged(&View { sight, scope, askable }).ok()?;
        in_table(&merged, kind, name).map(|(_, item)| item)
    }

    async fn find_item(
        &self,
        view: &View,
        veil: &Veil<'_>,
        kind: ItemKind,
        name: &str,
    ) -> Result<Option<(Arc<Server>, Item)>, Error> {
        let merged = self.merged(view)?;
        // Where policies hold, a server is not asked for what it does not list: its answer would
        // tell what is hidden from what is not there, and nobody knows how such a tool behaves.
        let quick = || veil.is_clear().then(|| self.by_scope(view, kind, name)).flatten();
        if let Some(found) = in_table(&merged, kind, name).or_else(quick) {
            return Ok(Some(found));
        }
        // A server nobody has listed yet may have it.
        let merged = self.fresh(view).await?;
        if let Some(found) = in_table(&merged, kind, name) {
            return Ok(Some(found));
        }
        if kind != ItemKind::Resource {
            return Ok(None);
        }
        // To choose one of them would let a server answer for another's resource.
        let owners = owners(&merged, name);
        let shown: Vec<&Slug> = owners
            .iter()
            .filter(|offer| shows(veil, &offer.server, kind, (name, &Annotations::default())))
            .map(|offer| &offer.server.name)
            .collect();
        match (owners.len(), shown.len()) {
            (0 | 1, _) => Ok(by_shape(&merged, name, veil.is_clear())),
            (_, 2..) => Err(Error::ambiguous(name, &shown)),
            _ => Ok(None),
        }
    }

    /// Whose a name must be by the endpoint or by its prefix: that server knows its own names
    /// best, also those it has not listed.
    fn by_scope(&self, view: &View, kind: ItemKind, name: &str) -> Option<(Arc<Server>, Item)> {
        let directory = self.0.registry.directory();
        let of = |server: Arc<Server>, name: &str| {
            // What is left out of its lists for being invalid is not called either.
            let is_refused = self
                .0
                .shelves
                .lock()
                .get(&Place::shared(server.id))
                .and_then(Shelf::offer)
                .is_some_and(|offer| {
                    let is_invalid = kind == ItemKind::Tool && offer.refused.contains(name);
                    is_invalid || offer.vetted.refuses(kind, name)
                });
            (!is_refused && self.may_ask(&server, kind, name))
                .then(|| (server, Item::named(kind, name)))
        };
        if let Scope::Server(_) = view.scope {
            let server = directory.in_scope(&view.sight, &view.scope)?.into_iter().next()?;
            return of(server, name);
        }
        if !matches!(kind, ItemKind::Tool | ItemKind::Prompt) {
            return None;
        }
        let (prefix, rest) = name.split_once(SEPARATOR).filter(|(_, rest)| !rest.is_empty())?;
        let servers = directory.in_scope(&view.sight, &view.scope)?;
        let server = servers.into_iter().find(|server| server.name.as_str() == prefix)?;
        if directory.prefixing(&server) == Prefixing::Never { None } else { of(server, rest) }
    }
}

/// Whether a caller may know of an item.
pub(super) fn shows(
    veil: &Veil<'_>,
    server: &Server,
    kind: ItemKind,
    (name, annotations): (&str, &Annotations),
) -> bool {
    let server = (!owned::is_own(server)).then_some(server);
    veil.shows(server, (kind, name), annotations)
}

/// The servers that list a URI under that very name.
fn owners<'a>(merged: &'a Merged, uri: &str) -> Vec<&'a Arc<Offer>> {
    let lists = |offer: &&Arc<Offer>| {
        offer.of_kind(ItemKind::Resource).iter().any(|entry| *entry.name == *uri)
    };
    merged.offers.iter().filter(lists).collect()
}

/// Whose a URI is that stands in no list: by its mark, by a template it fits, or because only
/// one server has resources at all. Where policies hold, a list or a template must have it.
fn by_shape(merged: &Merged, uri: &str, is_clear: bool) -> Option<(Arc<Server>, Item)> {
    let of =
        |offer: &Offer, uri: &str| (offer.server.clone(), Item::named(ItemKind::Resource, uri));
    let (plain, marked) = match names::unmark(uri) {
        Some((plain, server)) => (plain, Some(server)),
        None => (uri, None),
    };
    let by_mark = |offer: &&Arc<Offer>| marked == Some(offer.server.name.as_str());
    let has_template = |offer: &Offer, uri: &str| {
        let templates = offer.of_kind(ItemKind::Template);
        templates.iter().any(|entry| template::matches(&entry.name, uri))
    };
    if let Some(offer) = merged.offers.iter().find(by_mark) {
        return (is_clear || has_template(offer, plain)).then(|| of(offer, plain));
    }
    if let Some(offer) = merged.offers.iter().find(|offer| has_template(offer, uri)) {
        return Some(of(offer, uri));
    }
    if !is_clear {
        return None;
    }
    let has =
        |offer: &&Arc<Offer>| offer.peer.as_ref().is_some_and(|peer| peer.capabilities.resources);
    let mut readable = merged.offers.iter().filter(has);
    readable.next().filter(|_| readable.next().is_none()).map(|offer| of(offer, uri))
}

fn in_table(merged: &Merged, kind: ItemKind, name: &str) -> Option<(Arc<Server>, Item)> {
    let (offer, entry) = merged.find(kind, name)?;
    let param_headers = entry.param_headers.clone();
    let task_support = entry.task_support;
    let (name, annotations) = (entry.name.clone(), entry.annotations.clone());
    let item = Item { kind, name, param_headers, task_support, annotations };
    Some((offer.server.clone(), item))
}

/// What kind of item a call names, where it names one.
pub(crate) fn sought(call: &Call) -> Option<ItemKind> {
    match call.method() {
        Method::ToolsCall => Some(ItemKind::Tool),
        Method::PromptsGet => Some(ItemKind::Prompt),
        Method::ResourcesRead => Some(ItemKind::Resource),
        Method::Complete => Some(completed_kind(call)),
        _ => None,
    }
}

/// What a completion is for. A reference to a resource names a template more often than a URI.
fn completed_kind(call: &Call) -> ItemKind {
    #[derive(Deserialize)]
    struct Reference {
        r#type: String,
    }
    match call.request.param::<Reference>("ref") {
        Some(reference) if reference.r#type == "ref/resource" => ItemKind::Template,
        _ => ItemKind::Prompt,
    }
}
