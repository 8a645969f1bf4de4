//! Where people connect their accounts at servers: they sign in here, are sent to whoever gives the
//! server's tokens, and come back.

use axum::{
    extract::{Path, Query, Request, State},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};

use super::{
    links::server,
    page,
    visit::{Decided, Form, SignedIn, Visit},
};
use crate::{
    access::oauth,
    admin::{Office, desk::no_such_path},
    domain::Secret,
    links::Returned,
    problem::{Kind, Problem},
};

/// What shows that somebody came back once more, from our own page: browsers keep our cookie back
/// where another site sends them.
const AGAIN: &str = "again=1";

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
            let server = server(&office, &caller, &name)?;
            let Some((username, csrf)) = visit.signed_in(&caller)? else {
                return Ok(sign_in_page(None));
            };
            let (server, csrf) = (server.name.as_str(), csrf.expose());
            return Ok(page::Connect { server, username: &username, csrf }.render());
        }
        let (decision, caller, proved) = match visit.decide(body).await.map_err(told)? {
            Decided::SignIn(form) => return signed_in(&visit, &form).await,
            Decided::Nobody => return Ok(visit.again(None)),
            Decided::Is { decision, caller, proved } => (decision, caller, proved),
        };
        if decision != "connect" {
            return Ok(visit.switch(&proved).await?);
        }
        let server = server(&office, &caller, &name)?;
        let begun = office.links.begin(&caller, &server, &base).await?;
        Ok(page::send_on(&begun.url, &format!("You are sent to {}", begun.issuer)))
    };
    answered.await.unwrap_or_else(|problem| refused(&problem))
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
            return match visit.decide(body).await.map_err(told)? {
                Decided::SignIn(form) => signed_in(&visit, &form).await,
                Decided::Nobody | Decided::Is { .. } => Ok(visit.again(None)),
            };
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
    answered.await.unwrap_or_else(|problem| refused(&problem))
}

/// The page once more for somebody who signed in, or tried to.
async fn signed_in(visit: &Visit<'_>, form: &Form) -> Result<Response, Problem> {
    Ok(match visit.sign_in(form).await? {
        SignedIn::Is(cookie) => visit.again(Some(&cookie)),
        SignedIn::IsNot { complaint, status } => {
            let username = form.get("username").map_or("", Secret::expose);
            sign_in_page(Some((&complaint, username, status)))
        }
    })
}

fn sign_in_page(failed: Option<(&str, &str, StatusCode)>) -> Response {
    let (complaint, username, status) = failed
        .map_or((None, "", StatusCode::OK), |(said, name, status)| (Some(said), name, status));
    page::SignIn { to: None, redirect: None, complaint, username }.render(status)
}

/// What is wrong with a form, as the room says it: no client asked anything here.
fn told(error: oauth::Error) -> Problem {
    match error {
        oauth::Error::Room(error) => error.into(),
        error => error.into(),
    }
}

fn refused(problem: &Problem) -> Response {
    if problem.kind() == Kind::Internal {
        tracing::error!(error = problem.cause(), "nobody could connect an account");
    }
    let status = problem.kind().telling().http;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    page::refusal(status, problem.message())
}
