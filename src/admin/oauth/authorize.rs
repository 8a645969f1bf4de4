//! Where a person is sent by a client: they sign in, consent or not, and are sent back.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{LOCATION, SET_COOKIE},
};

use super::{
    metadata::base,
    page,
    sign_in::{Form, SignedIn, in_browser, read, sign_in},
};
use crate::{
    access::{
        self, Caller, Credential,
        oauth::{Error, Wanted},
    },
    admin::{Office, desk::no_such_path},
    domain::Secret,
    edge::Peer,
    problem::{Classify, Kind},
    upstream::Document,
};

/// One visit of a browser.
struct Visit<'a> {
    office: &'a Office,
    /// What all URLs of this gateway begin with, as the browser knows it.
    base: &'a str,
    /// What the client asks, as it stands in the URL.
    query: &'a str,
    headers: &'a HeaderMap,
    credential: &'a Credential,
    peer: Peer,
}

/// Shows a person what they are asked, or does what they decided about it.
pub(in crate::admin) async fn authorize(
    State(office): State<Office>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(base) = base(&office.site, &parts.uri, &parts.headers) else {
        return no_such_path().await.into_response();
    };
    let none = Credential::None;
    let visit = Visit {
        office: &office,
        base: &base,
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        credential: parts.extensions.get().unwrap_or(&none),
        peer: parts.extensions.get().copied().unwrap_or(Peer { address: None, uid: None }),
    };
    let answered =
        if parts.method == Method::POST { visit.decide(body).await } else { visit.show().await };
    answered.unwrap_or_else(|error| refused(&error))
}

impl Visit<'_> {
    /// The page that is due: to sign in, or to consent. None where the person did both before.
    async fn show(&self) -> Result<Response, Error> {
        let Some(caller) = self.caller(self.credential) else {
            return Ok(self.sign_in_page(None, "", StatusCode::OK));
        };
        let wanted = self.wanted().await?;
        if self.office.access.is_given(&caller, &wanted) {
            return self.send_back(&caller, &wanted);
        }
        let Credential::Page(shown) = self.credential else {
            return Ok(self.sign_in_page(None, "", StatusCode::OK));
        };
        let profile = self.office.access.profile(&caller)?;
        let username = profile.map(|it| it.user.username).unwrap_or_default();
        let csrf = self.office.access.csrf_token_of(shown);
        let page = page::Consent { wanted: &wanted, username: &username, csrf: csrf.expose() };
        Ok(page.render())
    }

    /// Does what one of our forms says. Forms of others are not listened to.
    async fn decide(&self, body: Body) -> Result<Response, Error> {
        if !access::is_same_origin(self.headers) {
            return Err(access::Error::ForeignPage.into());
        }
        let form = read(body).await?;
        let field = |name: &str| form.get(name).map_or("", Secret::expose);
        if field("decision") == "sign_in" {
            return self.sign_in(&form).await;
        }
        let Credential::Page(shown) = self.credential else { return Ok(self.again(None)) };
        let proved = shown.as_ref().clone().proved_by(Secret::new(field("csrf")));
        let proved = Credential::Page(Box::new(proved));
        let caller = self.office.access.authenticate(&proved)?;
        match field("decision") {
            "allow" => self.send_back(&caller, &self.wanted().await?),
            "deny" => {
                let denied = [("error", "access_denied")];
                Ok(redirect(&self.wanted().await?.answer(self.base, &denied)))
            }
            "switch" => {
                self.office.access.sign_out(&proved).await?;
                Ok(self.again(Some(&access::set_cookie(self.headers, None))))
            }
            _ => Err(Error::Request("the form says nothing that is understood here")),
        }
    }

    async fn sign_in(&self, form: &Form) -> Result<Response, Error> {
        // Nobody types a password for a client that cannot go on with it.
        drop(self.known()?);
        match sign_in(self.office, (self.headers, self.peer), form).await? {
            SignedIn::Is(cookie) => Ok(self.again(Some(&cookie))),
            SignedIn::IsNot { complaint, status } => {
                let username = form.get("username").map_or("", Secret::expose);
                Ok(self.sign_in_page(Some(&complaint), username, status))
            }
        }
    }

    /// Whoever is signed in in this browser.
    fn caller(&self, credential: &Credential) -> Option<Caller> {
        in_browser(self.office, credential)
    }

    /// What the client wants, as far as that is known without reading its document: strangers make
    /// the gateway fetch nothing.
    fn known(&self) -> Result<Option<Wanted>, Error> {
        match self.office.access.document_to_read(self.query)? {
            Some(_) => Ok(None),
            None => self.office.access.wanted(self.base, self.query).map(Some),
        }
    }

    /// What the client wants, after reading its document where that is due.
    async fn wanted(&self) -> Result<Wanted, Error> {
        let Office { access, upstream, .. } = self.office;
        if let Some(url) = access.document_to_read(self.query)? {
            let settings = &access.oauth_settings().documents;
            let document = Document {
                url: &url,
                bytes: settings.bytes,
                within: Duration::from_millis(settings.read_ms),
                may_be_private: settings.private,
            };
            let read = upstream.document(document).await.map_err(|error| {
                tracing::info!(url, %error, "the document of a client is not to be had");
                Error::Client("the document of the client cannot be read")
            })?;
            access.read_document(&url, &read)?;
        }
        access.wanted(self.base, self.query)
    }

    fn sign_in_page(&self, said: Option<&str>, username: &str, status: StatusCode) -> Response {
        match self.known() {
            Ok(wanted) => {
                let name = wanted.as_ref().map(page::name);
                let redirect = wanted.as_ref().map(|wanted| &*wanted.redirect);
                page::SignIn { to: name.as_deref(), redirect, complaint: said, username }
                    .render(status)
            }
            Err(error) => refused(&error),
        }
    }

    fn send_back(&self, caller: &Caller, wanted: &Wanted) -> Result<Response, Error> {
        let code = self.office.access.give_code(caller, wanted)?;
        Ok(redirect(&wanted.answer(self.base, &[("code", code.expose())])))
    }

    /// The same page once more, with another cookie or none.
    fn again(&self, cookie: Option<&str>) -> Response {
        let mut response = redirect(&format!("?{}", self.query));
        if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
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

fn refused(error: &Error) -> Response {
    let status = match error {
        Error::Room(access::Error::ForeignPage) => StatusCode::FORBIDDEN,
        _ => StatusCode::from_u16(error.kind().telling().http).unwrap_or(StatusCode::BAD_REQUEST),
    };
    if error.kind() == Kind::Internal {
        tracing::error!(error = crate::problem::chain(error), "nobody could consent");
        return page::refusal(status, "the gateway failed; its log says why");
    }
    page::refusal(status, &error.to_string())
}
