//! Where a person is sent by a client: they sign in, consent or not, and are sent back.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};

use super::{
    metadata::base,
    page,
    visit::{Decided, Form, SignedIn, Visit, redirect},
};
use crate::{
    access::{
        self, Caller,
        oauth::{Error, Wanted},
    },
    admin::{Office, desk::no_such_path},
    domain::Secret,
    problem::{Classify, Kind},
    upstream::Document,
};

/// A visit of somebody whom a client sent.
struct Asked<'a> {
    visit: Visit<'a>,
    /// What all URLs of this gateway begin with, as the browser knows it.
    base: &'a str,
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
    let asked = Asked { visit: Visit::of(&office, &parts), base: &base };
    let answered =
        if parts.method == Method::POST { asked.decide(body).await } else { asked.show().await };
    answered.unwrap_or_else(|error| refused(&error))
}

impl Asked<'_> {
    /// The page that is due: to sign in, or to consent. None where the person did both before.
    async fn show(&self) -> Result<Response, Error> {
        let Some(caller) = self.visit.caller() else {
            return Ok(self.sign_in_page(None, "", StatusCode::OK));
        };
        let wanted = self.wanted().await?;
        if self.visit.office.access.is_given(&caller, &wanted) {
            return self.send_back(&caller, &wanted);
        }
        let Some((username, csrf)) = self.visit.signed_in(&caller)? else {
            return Ok(self.sign_in_page(None, "", StatusCode::OK));
        };
        let page = page::Consent { wanted: &wanted, username: &username, csrf: csrf.expose() };
        Ok(page.render())
    }

    /// Does what one of our forms says.
    async fn decide(&self, body: Body) -> Result<Response, Error> {
        let (decision, caller, proved) = match self.visit.decide(body).await? {
            Decided::SignIn(form) => return self.sign_in(&form).await,
            Decided::Nobody => return Ok(self.visit.again(None)),
            Decided::Is { decision, caller, proved } => (decision, caller, proved),
        };
        match &*decision {
            "allow" => self.send_back(&caller, &self.wanted().await?),
            "deny" => {
                let denied = [("error", "access_denied")];
                Ok(redirect(&self.wanted().await?.answer(self.base, &denied)))
            }
            "switch" => Ok(self.visit.switch(&proved).await?),
            _ => Err(Error::Request("the form says nothing that is understood here")),
        }
    }

    async fn sign_in(&self, form: &Form) -> Result<Response, Error> {
        // Nobody types a password for a client that cannot go on with it.
        drop(self.known()?);
        match self.visit.sign_in(form).await? {
            SignedIn::Is(cookie) => Ok(self.visit.again(Some(&cookie))),
            SignedIn::IsNot { complaint, status } => {
                let username = form.get("username").map_or("", Secret::expose);
                Ok(self.sign_in_page(Some(&complaint), username, status))
            }
        }
    }

    /// What the client wants, as far as that is known without reading its document: strangers make
    /// the gateway fetch nothing.
    fn known(&self) -> Result<Option<Wanted>, Error> {
        match self.visit.office.access.document_to_read(self.visit.query)? {
            Some(_) => Ok(None),
            None => self.visit.office.access.wanted(self.base, self.visit.query).map(Some),
        }
    }

    /// What the client wants, after reading its document where that is due.
    async fn wanted(&self) -> Result<Wanted, Error> {
        let Office { access, upstream, .. } = self.visit.office;
        if let Some(url) = access.document_to_read(self.visit.query)? {
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
        access.wanted(self.base, self.visit.query)
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
        let code = self.visit.office.access.give_code(caller, wanted)?;
        Ok(redirect(&wanted.answer(self.base, &[("code", code.expose())])))
    }
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
