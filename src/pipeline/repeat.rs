//! Arguments that are repeated in headers, because their server wants them there.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::{
    catalog::Argument,
    domain::Item,
    problem::{Kind, Problem},
    wire::{Call, header},
};

/// The headers that repeat arguments of this call. Those of the item's definition are made anew,
/// once the client's own agree with them; those it does not know of go on as they came.
pub(super) fn param_headers(
    item: &Item,
    call: &Call,
) -> Result<Vec<(HeaderName, HeaderValue)>, Problem> {
    let brought = call.repeated.as_ref().map(header::Repeated::headers);
    let mut headers = brought.cloned().unwrap_or_default();
    let wanted = item.param_headers.as_deref().unwrap_or_default();
    let arguments: Map<String, Value> = if wanted.is_empty() {
        Map::new()
    } else {
        call.request.param("arguments").unwrap_or_default()
    };
    for wanted in wanted {
        let name = format!("{}{}", header::PARAM_PREFIX, wanted.name);
        let Ok(name) = HeaderName::try_from(name) else { continue };
        headers.remove(&name);
        let Some(argument) = Argument::find(&arguments, &wanted.path) else { continue };
        if let Some(repeated) = &call.repeated {
            repeated.check(&name, |said| argument.is_said_by(said)).map_err(|mismatch| {
                Problem::new(Kind::Invalid, mismatch.to_string()).with_rpc(header::MISMATCH)
            })?;
        }
        headers.insert(name, header::encode(&argument.text));
    }
    Ok(headers.into_iter().filter_map(|(name, value)| Some((name?, value))).collect())
}
