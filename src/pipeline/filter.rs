//! Obligations on the way back.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    access::Permit,
    catalog::{Catalog, View},
    domain::Target,
    pipeline::Body,
    wire::{Answer, Call, Method},
};

/// The reply as its caller may see it: under the names the caller used, and can use.
pub(super) fn apply(
    catalog: &Catalog,
    permit: &Permit,
    target: &Target,
    call: &Call,
    body: Body,
) -> Body {
    let body = if permit.obliges() { redacted(permit, body) } else { body };
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

/// The reply without what policies keep back. One that cannot be looked through is kept back whole.
fn redacted(permit: &Permit, body: Body) -> Body {
    match body {
        Body::Carried(answer) => {
            Body::Carried(redact_answer(permit, answer.bytes()).unwrap_or_else(withheld))
        }
        Body::Made { result, fits_all } => match serde_json::from_slice::<Value>(&result) {
            Ok(mut said) => {
                permit.redact(&mut said);
                Body::Made { result: said.to_string().into(), fits_all }
            }
            Err(_) => Body::Carried(withheld()),
        },
        // Of a response of HTTP it was taken out where it was read.
        body @ (Body::Listening(_) | Body::Exchanged(_)) => body,
    }
}

fn redact_answer(permit: &Permit, answer: &Bytes) -> Option<Answer> {
    let mut whole: Value = serde_json::from_slice(answer).ok()?;
    let said = if whole.get("result").is_some() { "result" } else { "error" };
    permit.redact(whole.get_mut(said)?);
    Answer::parse(&whole.to_string().into()).ok()
}

fn withheld() -> Answer {
    let message = "the answer cannot be redacted, as a policy wants it, and is withheld";
    let error =
        json!({ "jsonrpc": "2.0", "id": 0, "error": { "code": -32603, "message": message } });
    Answer::parse(&error.to_string().into()).expect("an error of our own is an answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_withheld_is_an_error_that_says_so() {
        let answer = withheld();

        let said = answer.error_message().expect("an error");
        assert!(said.contains("withheld"), "{said}");
    }
}
