//! Obligations on the way back.

use crate::{
    access::Permit,
    catalog::{Catalog, View},
    domain::Target,
    pipeline::Body,
    wire::{Call, Method},
};

/// The reply as its caller may see it: under the names the caller used, and can use.
pub(super) fn apply(
    catalog: &Catalog,
    permit: &Permit,
    target: &Target,
    call: &Call,
    body: Body,
) -> Body {
    let Target::Item { server, item, .. } = target else { return body };
    let Body::Carried(answer) = body else { return body };
    let outward = catalog.outward(&View::of(permit.caller(), call), server);
    let asked = call
        .request
        .subject()
        .filter(|asked| *call.method() == Method::ResourcesRead && **asked != *item.name);
    if asked.is_none() && outward.is_none() {
        return Body::Carried(answer);
    }
    Body::Carried(answer.with_uris_renamed(|uri| match asked {
        Some(asked) if *uri == *item.name => Some(asked.to_owned()),
        _ => outward.as_ref()?(uri),
    }))
}
