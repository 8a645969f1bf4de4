//! Visits of browsers to our pages: who is there, and what they decide on our forms.

use std::collections::HashMap;

use axum::{
    body::{self, Body},
    response::Response,
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{LOCATION, SET_COOKIE},
    request::Parts,
};
use zeroize::Zeroizing;

use super::page;
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

/// One visit of a browser.
pub(super) struct Visit<'a> {
    pub(super) office: &'a Office,
    /// What stands in the URL behind the path.
    pub(super) query: &'a str,
    headers: &'a HeaderMap,
    credential: &'a Credential,
    peer: Peer,
}

/// What somebody decided on one of our forms.
pub(super) enum Decided {
    /// To sign in, with what stands there.
    SignIn(Form),
    /// Something, and nobody is signed in any more.
    Nobody,
    /// This, and it is proved that the form is ours.
    Is { decision: String, caller: Caller, proved: Credential },
}

impl<'a> Visit<'a> {
    pub(super) fn of(office: &'a Office, parts: &'a Parts) -> Self {
        static NOTHING: Credential = Credential::None;
        Self {
            office,
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            credential: parts.extensions.get().unwrap_or(&NOTHING),
            peer: parts.extensions.get().copied().unwrap_or(Peer { address: None, uid: None }),
        }
    }

    /// Whoever is signed in in this browser.
    pub(super) fn caller(&self) -> Option<Caller> {
        let Credential::Page(_) = self.credential else { return None };
        let caller = self.office.access.authenticate(self.credential).ok()?;
        matches!(caller.principal().kind, PrincipalKind::User(_)).then_some(caller)
    }

    /// What they are called, and what shows that a form is ours; none where nobody is signed in.
    pub(super) fn signed_in(
        &self,
        caller: &Caller,
    ) -> Result<Option<(String, Secret)>, access::Error> {
        let Credential::Page(shown) = self.credential else { return Ok(None) };
        let profile = self.office.access.profile(caller)?;
        let username = profile.map(|it| it.user.username).unwrap_or_default();
        Ok(Some((username, self.office.access.csrf_token_of(shown))))
    }

    /// What one of our forms says. Forms of others are not listened to.
    pub(super) async fn decide(&self, body: Body) -> Result<Decided, Error> {
        if !access::is_same_origin(self.headers) {
            return Err(access::Error::ForeignPage.into());
        }
        let form = read(body).await?;
        let field = |name: &str| form.get(name).map_or("", Secret::expose);
        if field("decision") == "sign_in" {
            return Ok(Decided::SignIn(form));
        }
        let Credential::Page(shown) = self.credential else { return Ok(Decided::Nobody) };
        let proved = shown.as_ref().clone().proved_by(Secret::new(field("csrf")));
        let proved = Credential::Page(Box::new(proved));
        let caller = self.office.access.authenticate(&proved)?;
        Ok(Decided::Is { decision: field("decision").to_owned(), caller, proved })
    }

    /// Signs somebody in.
    pub(super) async fn sign_in(&self, form: &Form) -> Result<SignedIn, access::Error> {
        let field = |name: &str| form.get(name).map_or("", Secret::expose);
        let code = Some(field("totp")).filter(|code| !code.trim().is_empty());
        let attempt = Attempt {
            name: field("username").to_owned(),
            password: Secret::new(field("password")),
            second: code.map(Secret::new),
            kind: LoginKind::Page,
            from: self.peer.address.map(|address| address.ip()),
        };
        let error = match self.office.access.sign_in(attempt).await {
            Ok(signed_in) => {
                let Pass::Page { cookie, .. } = &signed_in.pass else {
                    return Err(access::Error::NotSignedIn);
                };
                let cookie = (cookie, signed_in.expires_in);
                return Ok(SignedIn::Is(access::set_cookie(self.headers, Some(cookie))));
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

    /// Signs somebody out, so that another can sign in on the same page.
    pub(super) async fn switch(&self, proved: &Credential) -> Result<Response, access::Error> {
        self.office.access.sign_out(proved).await?;
        Ok(self.again(Some(&access::set_cookie(self.headers, None))))
    }

    /// The same page once more, with another cookie or none.
    pub(super) fn again(&self, cookie: Option<&str>) -> Response {
        let mut response = redirect(&format!("?{}", self.query));
        if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
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

async fn read(body: Body) -> Result<Form, Error> {
    let read = body::to_bytes(body, FORM_BYTES).await;
    let bytes = read.map_err(|_| Error::Request("the form is too long"))?;
    let fields = url::form_urlencoded::parse(&bytes);
    Ok(fields.map(|(name, value)| (name.into_owned(), Secret::new(value))).collect())
}

/// Sends a browser on with GET, whatever it came with.
pub(super) fn redirect(to: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let Ok(to) = HeaderValue::from_str(to) else {
        return page::refusal(StatusCode::BAD_REQUEST, "the address to go back to is no address");
    };
    response.headers_mut().insert(LOCATION, to);
    response
}
