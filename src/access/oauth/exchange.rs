//! Tokens for codes and for refresh tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::sha::sha256;
use subtle::ConstantTimeEq;

use crate::{
    access::{
        self, Access, Pass, SignedIn,
        oauth::{Authorization, Error, request::Fields},
        sign_in::actor,
    },
    domain::{Consent, LoginId, LoginKind, Secret, TokenScopes, UserId},
};

/// How long a verifier is, in characters.
const VERIFIER: std::ops::RangeInclusive<usize> = 43..=128;

/// What a client sends for tokens.
pub(crate) struct TokenForm(Fields);

/// What it gets.
pub(crate) struct Given {
    pub(crate) access: Secret,
    pub(crate) refresh: Secret,
    /// Seconds for which the access token is good.
    pub(crate) expires_in: u64,
    pub(crate) scopes: TokenScopes,
}

impl TokenForm {
    /// Reads a form.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Error> {
        Fields::parse(body).map(Self)
    }

    fn secret(&self, name: &str, complaint: &'static str) -> Result<Secret, Error> {
        self.0.need(name, complaint).map(Secret::new)
    }

    fn client(&self) -> Result<&str, Error> {
        self.0.get("client_id").ok_or(Error::Client("client_id is missing"))
    }
}

impl Access {
    /// Gives tokens for a code or for a refresh token.
    pub(crate) async fn exchange(&self, form: &TokenForm) -> Result<Given, Error> {
        match form.0.need("grant_type", "grant_type is missing")? {
            "authorization_code" => self.exchange_code(form).await,
            "refresh_token" => self.exchange_refresh(form).await,
            _ => Err(Error::GrantType),
        }
    }

    async fn exchange_code(&self, form: &TokenForm) -> Result<Given, Error> {
        let client = form.client()?;
        let code = self.code_of(&form.secret("code", "code is missing")?);
        let verifier = form.secret("code_verifier", "code_verifier is missing")?;
        let redirect = form.0.need("redirect_uri", "redirect_uri is missing")?;
        let (now, life) = (self.0.clock.now(), self.0.settings.oauth.code_life());
        let Some((user, asked)) = self.0.counter.codes.take(&code, now, life) else {
            self.end_replayed(&code).await?;
            return Err(Error::Grant);
        };
        if asked.client != client || asked.redirect != redirect || !is_proved(&asked, &verifier) {
            return Err(Error::Grant);
        }
        if form.0.get("resource").is_some_and(|resource| resource != asked.resource) {
            return Err(Error::Target);
        }
        let scopes = asked.scopes.clone();
        let signed_in = self.begin_consent(user, asked, code).await?;
        if self.0.counter.codes.is_used_twice(&code) {
            self.end_replayed(&code).await?;
            return Err(Error::Grant);
        }
        given(signed_in, scopes)
    }

    async fn begin_consent(
        &self,
        user: UserId,
        asked: Authorization,
        code: [u8; 32],
    ) -> Result<SignedIn, Error> {
        self.welcome(&user)?;
        let user = self.0.store.read().map_err(access::Error::from)?.user(&user);
        let user = user.map_err(access::Error::from)?.ok_or(Error::Grant)?;
        let Authorization { client, name, redirect, resource, scopes, .. } = asked;
        tracing::info!(user = %user.id, client, resource, %scopes, "a client gets tokens");
        let consent = Consent { client, name, redirect, resource, scopes, code };
        let login = self.begin_login(&user, LoginKind::Tokens, Some(consent)).await?;
        Ok(self.passed(user, login).await?)
    }

    async fn exchange_refresh(&self, form: &TokenForm) -> Result<Given, Error> {
        let client = form.client()?;
        let text = form.secret("refresh_token", "refresh_token is missing")?;
        let login = self.genuine(&text).ok_or(Error::Grant)?;
        let standing = self.0.logins.login(&login).ok_or(Error::Grant)?;
        let consent = standing.consent.clone().ok_or(Error::Grant)?;
        if form.0.get("resource").is_some_and(|resource| resource != consent.resource) {
            return Err(Error::Target);
        }
        if let Some(scope) = form.0.get("scope") {
            let wanted = TokenScopes::read(scope);
            if wanted.is_empty() || !consent.scopes.include(&wanted) {
                return Err(Error::Scope);
            }
        }
        let renewed = self.renew(&text, Some(client)).await?;
        given(renewed, consent.scopes.clone())
    }

    /// Ends what was begun with a code that came a second time: it is in two hands.
    async fn end_replayed(&self, code: &[u8; 32]) -> Result<(), Error> {
        let begun = self.0.logins.begun_with(code);
        if !begun.is_empty() {
            tracing::warn!(logins = ?begun, "a code was used twice");
            self.end_logins("a code was used twice", begun).await?;
        }
        Ok(())
    }

    /// Ends what a token of a client's belongs to. Whoever shows another learns nothing.
    pub(crate) async fn revoke_token(&self, form: &TokenForm) -> Result<(), Error> {
        let client = form.client()?;
        let text = form.secret("token", "token is missing")?;
        let login = self
            .genuine(&text)
            .or_else(|| self.0.tokens.read(text.expose(), self.0.clock.now()).ok()?.login());
        let standing = login.and_then(|login| Some((login, self.0.logins.login(&login)?)));
        let Some((login, standing)) = standing else { return Ok(()) };
        if standing.consent.as_ref().is_some_and(|consent| consent.client == client) {
            self.end_consent(standing.user, login).await?;
        }
        Ok(())
    }

    /// Ends what a person gave leave for.
    pub(super) async fn end_consent(
        &self,
        user: UserId,
        login: LoginId,
    ) -> Result<(), access::Error> {
        let who = actor(user);
        let written = self.0.store.write(&who, move |change| {
            change.remove_login(&login)?;
            Ok::<(), access::Error>(())
        });
        written.await?;
        self.reload()
    }
}

/// Whether whoever comes with the code is who asked for it (RFC 7636).
fn is_proved(asked: &Authorization, verifier: &Secret) -> bool {
    let text = verifier.expose();
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
    let made = URL_SAFE_NO_PAD.encode(sha256(text.as_bytes()));
    let is_same: bool = made.as_bytes().ct_eq(asked.challenge.as_bytes()).into();
    VERIFIER.contains(&text.len()) && text.bytes().all(is_plain) && is_same
}

fn given(signed_in: SignedIn, scopes: TokenScopes) -> Result<Given, Error> {
    let SignedIn { pass: Pass::Tokens { access, refresh }, expires_in, .. } = signed_in else {
        return Err(Error::Grant);
    };
    Ok(Given { access, refresh, expires_in, scopes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_verifier_is_who_asked() {
        let asked = Authorization {
            client: "c".into(),
            name: String::new(),
            redirect: "https://app.test/cb".into(),
            // The example of RFC 7636.
            challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into(),
            resource: "https://a.test/mcp".into(),
            scopes: TokenScopes::all(),
        };
        let proved = |text: &str| is_proved(&asked, &Secret::new(text));

        assert!(proved("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(!proved("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl"));
        assert!(!proved(&asked.challenge) && !proved(""));
    }
}
