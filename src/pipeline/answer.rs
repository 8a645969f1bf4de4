//! What the gateway answers itself.

use serde_json::{Map, Value, json};

use crate::{
    access::Permit,
    catalog::View,
    domain::{Item, ItemKind, Scope},
    pipeline::{Body, Pipeline, not_found},
    problem::Problem,
    wire::{Call, Method, Revision, meta},
};

impl Pipeline {
    /// Answers a call that does not leave the house.
    pub(super) async fn answer(
        &self,
        permit: &Permit,
        item: Option<&Item>,
        call: &Call,
    ) -> Result<Body, Problem> {
        if let Some(item) = item {
            let sight = permit.caller().principal().sight();
            let veil = self.access.veil(permit.caller(), call);
            let result = self.catalog.call_own(&sight, item, (call, &veil));
            return Ok(Body::Made { result, fits_all: true });
        }
        let kind = match call.method() {
            Method::ToolsList => ItemKind::Tool,
            Method::PromptsList => ItemKind::Prompt,
            Method::ResourcesList => ItemKind::Resource,
            Method::TemplatesList => ItemKind::Template,
            Method::TaskGet | Method::TaskUpdate | Method::TaskCancel | Method::TaskList => {
                return self.answer_of_task(permit, call);
            }
            Method::Discover => return self.discover(permit, call).await,
            _ => return Ok(Body::Made { result: "{}".into(), fits_all: true }),
        };
        let view = View::of(permit.caller(), call);
        let veil = self.access.veil(permit.caller(), call);
        let listed = self.catalog.list(&view, &veil, kind, call.request.cursor()).await;
        let listed = listed.map_err(not_found)?;
        Ok(Body::Made { result: listed.result, fits_all: listed.fits_all })
    }

    async fn discover(&self, permit: &Permit, call: &Call) -> Result<Body, Problem> {
        let veil = self.access.veil(permit.caller(), call);
        let found = self.catalog.discover(&View::of(permit.caller(), call), &veil).await;
        let found = found.map_err(not_found)?;
        let has = found.capabilities;
        let mut extensions = found.extensions;
        extensions.insert(meta::TASKS.to_owned(), json!({}));
        let resources = json!({ "listChanged": true, "subscribe": has.subscribe });
        let offered = [
            ("tools", has.tools, json!({ "listChanged": true })),
            ("prompts", has.prompts, json!({ "listChanged": true })),
            ("resources", has.resources, resources),
            ("completions", has.completions, json!({})),
            ("logging", has.logging, json!({})),
        ];
        let capabilities: Map<String, Value> = offered
            .into_iter()
            .filter(|(_, has, _)| *has)
            .map(|(name, _, how)| (name.to_owned(), how))
            .chain([(meta::EXTENSIONS.to_owned(), extensions.into())])
            .collect();
        let mut result = json!({
            "resultType": "complete",
            "supportedVersions": [Revision::NEWEST.as_str()],
            "capabilities": capabilities,
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": { meta::SERVER_INFO: implementation() },
        });
        if let Some(instructions) = found.instructions.or_else(|| house_rules(&call.scope)) {
            result["instructions"] = instructions.into();
        }
        Ok(Body::Made { result: result.to_string().into(), fits_all: true })
    }
}

fn implementation() -> Value {
    serde_json::from_str(meta::IMPLEMENTATION).expect("our own name is JSON")
}

/// What a model should know of a merged list.
fn house_rules(scope: &Scope) -> Option<String> {
    let rules = "Tools here come from several servers; a name such as server__tool says which.";
    (!matches!(scope, Scope::Server(_))).then(|| rules.to_owned())
}
