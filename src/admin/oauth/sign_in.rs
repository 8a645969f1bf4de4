//! The form with which somebody signs in on one of our pages.

use std::collections::HashMap;

use axum::body::{self, Body};
use http::{HeaderMap, StatusCode};
use zeroize::Zeroizing;

use crate::{
    access::{self, Attempt, Caller, Credential, Pass, oauth::Error},
    admin::Office,
    domain::{LoginKind, PrincipalKind, Secret},
    edge::Peer,
    problem::{Classify, Kind},
};

/// The largest form that a page sends, in bytes.
const FORM_BYTES: usize = 16 * 1_024;

/// The fields of one of our forms.
pub(super) type Form = HashMap<String, Secret>;

/// What came of a form.
pub(super) enum SignedIn {
    /// Somebody is in: the header that gives their browser its cookie.
    Is(Zeroizing<String>),
    /// Nobody is.
    IsNot {
        /// What they are told.
        complaint: String,
        status: StatusCode,
    },
}

/// Signs somebody in.
pub(super) async fn sign_in(
    office: &Office,
    (headers, peer): (&HeaderMap, Peer),
    form: &Form,
) -> Result<SignedIn, access::Error> {
    let field = |name: &str| form.get(name).map_or("", Secret::expose);
    let code = Some(field("totp")).filter(|code| !code.trim().is_empty());
    let attempt = Attempt {
        name: field("username").to_owned(),
        password: Secret::new(field("password")),
        second: code.map(Secret::new),
        kind: LoginKind::Page,
        from: peer.address.map(|address| address.ip()),
    };
    let error = match office.access.sign_in(attempt).await {
        Ok(signed_in) => {
            let Pass::Page { cookie, .. } = &signed_in.pass else {
                return Err(access::Error::NotSignedIn);
            };
            let cookie = (cookie, signed_in.expires_in);
            return Ok(SignedIn::Is(access::set_cookie(headers, Some(cookie))));
        }
        Err(error) => error,
    };
    let status = match error.kind() {
        Kind::Internal => return Err(error),
        Kind::Limited | Kind::Unavailable => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::UNAUTHORIZED,
    };
    Ok(SignedIn::IsNot { complaint: complaint(&error), status })
}

/// Whoever is signed in in this browser.
pub(super) fn in_browser(office: &Office, credential: &Credential) -> Option<Caller> {
    let Credential::Page(_) = credential else { return None };
    let caller = office.access.authenticate(credential).ok()?;
    matches!(caller.principal().kind, PrincipalKind::User(_)).then_some(caller)
}

/// What somebody is told who could not sign in. The words for programs name fields of theirs.
fn complaint(error: &access::Error) -> String {
    match error {
        access::Error::SecondFactorNeeded => {
            "You use a second factor: give its code too.".to_owned()
        }
        error => error.to_string(),
    }
}

/// The fields of a form.
pub(super) async fn read(body: Body) -> Result<Form, Error> {
    let read = body::to_bytes(body, FORM_BYTES).await;
    let bytes = read.map_err(|_| Error::Request("the form is too long"))?;
    let fields = url::form_urlencoded::parse(&bytes);
    Ok(fields.map(|(name, value)| (name.into_owned(), Secret::new(value))).collect())
}
