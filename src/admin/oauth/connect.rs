//! Where people connect their accounts at servers: they sign in here, are sent to whoever gives the
//! server's tokens, and come back.

use axum::{
    extract::{Path, Query, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::SET_COOKIE};

use super::{
    authorize::redirect,
    page,
    sign_in::{SignedIn, in_browser, read, sign_in},
};
use crate::{
    access::{self, Caller, Credential, oauth},
    admin::{Office, desk::no_such_path},
    domain::Secret,
    edge::Peer,
    links::{Error, Returned},
    problem::{Classify, Kind},
};

/// What shows that somebody came back once more, from our own page: browsers keep our cookie back
/// where another site sends them.
const AGAIN: &str = "again=1";

/// One visit of a browser.
struct Visit<'a> {
    office: &'a Office,
    headers: &'a HeaderMap,
    credential: &'a Credential,
    query: &'a str,
    peer: Peer,
}

/// Why a visit comes to nothing.
enum Refusal {
    Links(Error),
    Access(access::Error),
    Form(oauth::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Links(error)
    }
}

impl From<access::Error> for Refusal {
    fn from(error: access::Error) -> Self {
        Self::Access(error)
    }
}

impl From<oauth::Error> for Refusal {
    fn from(error: oauth::Error) -> Self {
        Self::Form(error)
    }
}

/// Shows somebody what they are about to connect, and sends them on.
pub(in crate::admin) async fn connect(
    State(office): State<Office>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(base) = office.site.base(&parts.uri, &parts.headers) else {
        return no_such_path().await.into_response();
    };
    let visit = Visit::of(&office, &parts);
    let answered = async {
        if parts.method != Method::POST {
            let Some(caller) = visit.caller() else { return Ok(sign_in_page(None)) };
            let server = visit.server(&caller, &name)?;
            return visit.ask(&caller, server.name.as_str());
        }
        let (decision, proved) = match visit.decide(body).await? {
            Decided::Answered(response) => return Ok(response),
            Decided::Is(decision, proved) => (decision, proved),
        };
        if decision != "connect" {
            office.access.sign_out(&proved).await?;
            return Ok(visit.again(Some(&access::set_cookie(visit.headers, None))));
        }
        let caller = office.access.authenticate(&proved)?;
        let server = visit.server(&caller, &name)?;
        let begun = office.links.begin(&caller, &server, &base).await?;
        Ok(page::send_on(&begun.url, &format!("You are sent to {}", begun.issuer)))
    };
    answered.await.unwrap_or_else(|refusal| refused(&refusal))
}

/// Takes in somebody whom whoever gives tokens sent back.
pub(in crate::admin) async fn come_back(
    State(office): State<Office>,
    Query(said): Query<Returned>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let visit = Visit::of(&office, &parts);
    let answered = async {
        if parts.method == Method::POST {
            return Ok(match visit.decide(body).await? {
                Decided::Answered(response) => response,
                Decided::Is(..) => visit.again(None),
            });
        }
        let Some(caller) = visit.caller() else {
            if !visit.query.split('&').any(|pair| pair == AGAIN) {
                let to = format!("?{}&{AGAIN}", visit.query);
                return Ok(page::send_on(&to, "One moment"));
            }
            return Ok(sign_in_page(None));
        };
        let name = office.links.finish(&caller, said).await?;
        let directory = office.registry.directory();
        if let Some(server) = directory.find(&caller.principal().sight(), &name) {
            office.catalog.suspect(&server.id);
        }
        let words = "Your calls there bear it from now on. You can close this page.";
        Ok(page::done(&format!("Your account at {name} is connected"), words))
    };
    answered.await.unwrap_or_else(|refusal| refused(&refusal))
}

/// What somebody decided on one of our forms.
enum Decided {
    /// They signed in, or tried to.
    Answered(Response),
    /// This, with what proves that the form is ours.
    Is(String, Credential),
}

impl<'a> Visit<'a> {
    fn of(office: &'a Office, parts: &'a http::request::Parts) -> Self {
        static NOTHING: Credential = Credential::None;
        Self {
            office,
            headers: &parts.headers,
            credential: parts.extensions.get().unwrap_or(&NOTHING),
            query: parts.uri.query().unwrap_or_default(),
            peer: parts.extensions.get().copied().unwrap_or(Peer { address: None, uid: None }),
        }
    }

    fn caller(&self) -> Option<Caller> {
        in_browser(self.office, self.credential)
    }

    fn server(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<std::sync::Arc<crate::domain::Server>, Error> {
        let directory = self.office.registry.directory();
        let found = directory.find(&caller.principal().sight(), name).cloned();
        found.ok_or_else(|| Error::NoSuchServer(name.chars().take(80).collect()))
    }

    fn ask(&self, caller: &Caller, server: &str) -> Result<Response, Refusal> {
        let Credential::Page(shown) = self.credential else {
            return Ok(sign_in_page(None));
        };
        let profile = self.office.access.profile(caller)?;
        let username = profile.map(|it| it.user.username).unwrap_or_default();
        let csrf = self.office.access.csrf_token_of(shown);
        Ok(page::Connect { server, username: &username, csrf: csrf.expose() }.render())
    }

    /// What one of our forms says. Forms of others are not listened to.
    async fn decide(&self, body: axum::body::Body) -> Result<Decided, Refusal> {
        if !access::is_same_origin(self.headers) {
            return Err(access::Error::ForeignPage.into());
        }
        let form = read(body).await?;
        let field = |name: &str| form.get(name).map_or("", Secret::expose);
        if field("decision") == "sign_in" {
            let answered = match sign_in(self.office, (self.headers, self.peer), &form).await? {
                SignedIn::Is(cookie) => self.again(Some(&cookie)),
                SignedIn::IsNot { complaint, status } => {
                    sign_in_page(Some((&complaint, field("username"), status)))
                }
            };
            return Ok(Decided::Answered(answered));
        }
        let Credential::Page(shown) = self.credential else {
            return Ok(Decided::Answered(self.again(None)));
        };
        let proved = shown.as_ref().clone().proved_by(Secret::new(field("csrf")));
        let proved = Credential::Page(Box::new(proved));
        self.office.access.authenticate(&proved)?;
        Ok(Decided::Is(field("decision").to_owned(), proved))
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

fn sign_in_page(failed: Option<(&str, &str, StatusCode)>) -> Response {
    let (complaint, username, status) = failed
        .map_or((None, "", StatusCode::OK), |(said, name, status)| (Some(said), name, status));
    page::SignIn { to: None, redirect: None, complaint, username }.render(status)
}

fn refused(refusal: &Refusal) -> Response {
    let (kind, words) = match refusal {
        Refusal::Links(error) => (error.kind(), error.to_string()),
        Refusal::Access(error) => (error.kind(), error.to_string()),
        Refusal::Form(error) => (error.kind(), error.to_string()),
    };
    if kind == Kind::Internal {
        tracing::error!(error = words, "nobody could connect an account");
        return page::refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the gateway failed; its log says why",
        );
    }
    let status = StatusCode::from_u16(kind.telling().http).unwrap_or(StatusCode::BAD_REQUEST);
    page::refusal(status, &words)
}
