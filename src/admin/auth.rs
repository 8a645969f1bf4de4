//! Signing in, and what people see and change of themselves.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::{
        self, Access, Attempt, Caller, Credential, Pass, PasswordForm, Profile, ProfileForm,
        SignedIn,
    },
    admin::{
        desk::{Checked, Failure, Visitor, done, one},
        users,
    },
    domain::{LoginKind, Secret},
    edge::Peer,
    problem::{Kind, Problem},
};

/// What somebody signs in with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginForm {
    username: Option<String>,
    email: Option<String>,
    password: Secret,
    /// A code of the authenticator app, or a recovery code.
    totp: Option<Secret>,
    /// Whether the browser is to keep it, in a cookie that no script reads.
    #[serde(default)]
    cookie: bool,
}

/// A refresh token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshForm {
    refresh_token: Secret,
}

/// A password, shown again for something that matters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofForm {
    current_password: Secret,
    totp: Option<Secret>,
}

/// A code of an authenticator app.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeForm {
    totp: Secret,
}

/// A body that may be JSON or a form, as OAuth clients send it.
pub(super) struct Sent<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let form = b"application/x-www-form-urlencoded";
        if !kind.is_some_and(|kind| kind.as_bytes().starts_with(form)) {
            let Checked(value) = Checked::from_request(request, state).await?;
            return Ok(Self(value));
        }
        let read = Bytes::from_request(request, state).await;
        let body = read.map_err(|rejection| Problem::new(Kind::Invalid, rejection.body_text()))?;
        let mut members = serde_json::Map::new();
        for (name, value) in url::form_urlencoded::parse(&body) {
            // What OAuth clients add of their own says nothing here.
            if ["grant_type", "scope", "client_id", "client_secret"].contains(&&*name) {
                continue;
            }
            if members.insert(name.into_owned(), value.into_owned().into()).is_some() {
                let problem = Problem::new(Kind::Invalid, "a field of the form stands there twice");
                return Err(problem.into());
            }
        }
        // The words of a complaint about a form could repeat a password.
        serde_json::from_value(Value::Object(members)).map(Self).map_err(|_| {
            let problem = Problem::new(Kind::Invalid, "the form does not have the right fields");
            Failure::with_status(problem, StatusCode::UNPROCESSABLE_ENTITY)
        })
    }
}

/// Signs somebody in.
pub(super) async fn login(
    State(access): State<Access>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
    Sent(form): Sent<LoginForm>,
) -> Result<Response, Failure> {
    if form.cookie && !(is_json(&headers) && access::is_same_origin(&headers)) {
        return Err(told(access::Error::ForeignPage));
    }
    let ((Some(name), None) | (None, Some(name))) = (form.username, form.email) else {
        let problem = Problem::new(Kind::Invalid, "send either \"username\" or \"email\"");
        return Err(Failure::unprocessable(problem));
    };
    let attempt = Attempt {
        name,
        password: form.password,
        second: form.totp,
        kind: if form.cookie { LoginKind::Page } else { LoginKind::Tokens },
        from: peer.address.map(|address| address.ip()),
    };
    let signed_in = access.sign_in(attempt).await.map_err(told)?;
    answer(&access, &uri, &headers, &signed_in)
}

/// Gives new tokens for a refresh token.
pub(super) async fn refresh(
    State(access): State<Access>,
    uri: Uri,
    headers: HeaderMap,
    Sent(form): Sent<RefreshForm>,
) -> Result<Response, Failure> {
    let signed_in = access.refresh(&form.refresh_token).await.map_err(told)?;
    answer(&access, &uri, &headers, &signed_in)
}

/// Ends the sign-in that the credential belongs to.
pub(super) async fn logout(
    visitor: Visitor,
    State(access): State<Access>,
    Extension(credential): Extension<Credential>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Visitor(_) = visitor;
    access.sign_out(&credential).await.map_err(told)?;
    let mut response = done("you are signed out");
    if matches!(credential, Credential::Page(_)) {
        put_cookie(&mut response, &access::set_cookie(&headers, None));
    }
    Ok(response)
}

/// Shows who the caller is.
pub(super) async fn profile(
    visitor: Visitor,
    State(access): State<Access>,
    Extension(credential): Extension<Credential>,
    uri: Uri,
) -> Result<Response, Failure> {
    let Visitor(caller) = visitor;
    let mut shown = shown(&access, &caller)?;
    // A page that was loaded again has nothing but its cookie.
    if let Credential::Page(page) = &credential {
        shown["csrf_token"] = access.csrf_token_of(page).expose().into();
    }
    Ok(wrapped(&uri, shown))
}

/// Changes what people may change of themselves.
pub(super) async fn change_profile(
    visitor: Visitor,
    State(access): State<Access>,
    uri: Uri,
    Checked(form): Checked<ProfileForm>,
) -> Result<Response, Failure> {
    let Visitor(caller) = visitor;
    let changed = access.change_profile(&caller, form).await;
    changed.map_err(|error| Failure::unprocessable(error.into_problem()))?;
    Ok(wrapped(&uri, shown(&access, &caller)?))
}

/// Changes the caller's password, and signs them out everywhere else.
pub(super) async fn change_password(
    visitor: Visitor,
    State(access): State<Access>,
    Extension(credential): Extension<Credential>,
    Extension(peer): Extension<Peer>,
    Checked(form): Checked<PasswordForm>,
) -> Result<Response, Failure> {
    let Visitor(caller) = visitor;
    let from = peer.address.map(|address| address.ip());
    let changed = access.change_password((&caller, &credential), form, from).await;
    changed.map_err(|error| Failure::unprocessable(error.into_problem()))?;
    Ok(done("the password is changed; whoever else was signed in with it is not any more"))
}

/// Begins to give the caller a second factor.
pub(super) async fn enrol(
    visitor: Visitor,
    State(access): State<Access>,
    Extension(peer): Extension<Peer>,
    Checked(form): Checked<ProofForm>,
) -> Result<Response, Failure> {
    let Visitor(caller) = visitor;
    let from = peer.address.map(|address| address.ip());
    let enrolment = access.enrol(&caller, form.current_password, from).await.map_err(told)?;
    Ok(one(json!({ "secret": enrolment.secret.expose(), "uri": enrolment.uri.expose() })))
}

/// Confirms it with a first code, and shows the recovery codes, once.
pub(super) async fn confirm(
    visitor: Visitor,
    State(access): State<Access>,
    Checked(form): Checked<CodeForm>,
) -> Result<Response, Failure> {
    let Visitor(caller) = visitor;
    let codes = access.confirm(&caller, &form.totp).await.map_err(told)?;
    let codes: Vec<&str> = codes.iter().map(Secret::expose).collect();
    Ok(one(json!({ "recovery_codes": codes })))
}

/// Takes the caller's second factor away.
pub(super) async fn drop_second_factor(
    visitor: Visitor,
    State(access): State<Access>,
    Extension(peer): Extension<Peer>,
    Checked(form): Checked<ProofForm>,
) -> Result<Response, Failure> {
    let Visitor(caller) = visitor;
    let from = peer.address.map(|address| address.ip());
    let proof = (form.current_password, form.totp);
    access.drop_second_factor(&caller, proof, from).await.map_err(told)?;
    Ok(done("only the password is asked for from now on"))
}

fn told(error: access::Error) -> Failure {
    error.into_problem().into()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

/// The answer to a sign-in: flat, as OAuth clients read it.
fn answer(
    access: &Access,
    uri: &Uri,
    headers: &HeaderMap,
    signed_in: &SignedIn,
) -> Result<Response, Failure> {
    let user = person(&access.profile_of(&signed_in.user)?);
    let expires_in = signed_in.expires_in;
    match &signed_in.pass {
        Pass::Tokens { access, refresh } => Ok(wrapped(
            uri,
            json!({
                "access_token": access.expose(),
                "refresh_token": refresh.expose(),
                "token_type": "Bearer",
                "expires_in": expires_in,
                "user": user,
            }),
        )),
        Pass::Page { cookie, csrf } => {
            let body = json!({
                "csrf_token": csrf.expose(),
                "expires_in": expires_in,
                "user": user,
            });
            let mut response = wrapped(uri, body);
            put_cookie(&mut response, &access::set_cookie(headers, Some((cookie, expires_in))));
            Ok(response)
        }
    }
}

/// Paths of one predecessor have their answers in an envelope.
fn wrapped(uri: &Uri, body: Value) -> Response {
    if uri.path().starts_with("/api/") { one(body) } else { Json(body).into_response() }
}

fn put_cookie(response: &mut Response, cookie: &str) {
    let mut value = HeaderValue::from_str(cookie).expect("a cookie of ours is plain text");
    value.set_sensitive(true);
    response.headers_mut().insert(header::SET_COOKIE, value);
}

fn shown(access: &Access, caller: &Caller) -> Result<Value, Failure> {
    let principal = caller.principal();
    let mut shown = match access.profile(caller)? {
        Some(profile) => person(&profile),
        None => json!({ "id": principal.kind.to_string(), "is_active": true }),
    };
    // What a key may do is its own matter, whoever it belongs to.
    shown["role"] = principal.role.as_str().into();
    shown["organization_id"] = principal.organization.to_string().into();
    shown["principal"] = principal.kind.to_string().into();
    Ok(shown)
}

fn person(profile: &Profile) -> Value {
    let mut shown = users::shown(&profile.user);
    shown["second_factor"] = profile.has_second_factor.into();
    shown
}
