//! Tokens as they are written: JSON Web Signatures in their compact form, and nothing else of that
//! family.
//!
//! A token's head is compared with the heads this gateway writes itself, byte by byte, and never
//! read: whatever else it might say of algorithms and keys is not listened to. OpenSSL does the
//! mathematics.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    pkey::{Id, PKey, Private, Public},
    rand::rand_bytes,
    sha::sha256,
    sign::{Signer, Verifier},
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    access::mac::Mac,
    domain::{LoginId, NamespaceId, OrganizationId, Secret, SigningKey, Timestamp},
};

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 4_096;
/// How far the clocks of two machines may be apart, in seconds.
pub(super) const LEEWAY: i64 = 30;

/// What a token says. All of it is required, and of these types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    /// Who wrote it: this gateway and no other.
    pub(super) iss: String,
    /// Whom it is meant for: the same, or the endpoint that a client's token opens.
    pub(super) aud: String,
    /// Whom it speaks for, as `user:{id}` or `app:{id of its key}`.
    pub(super) sub: String,
    /// The sign-in it belongs to; an app does not sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<LoginId>,
    /// Its own name.
    pub(super) jti: String,
    /// When it was written, in seconds since 1970.
    pub(super) iat: i64,
    /// From when on it is good.
    pub(super) nbf: i64,
    /// Until when.
    pub(super) exp: i64,
    /// Which client has it; none where its person has it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    /// What it is good for in the hands of that client, or of an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    /// Where an app belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) org: Option<OrganizationId>,
    /// The one namespace that it opens to an app, where it opens one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ns: Option<NamespaceId>,
}

impl Claims {
    /// Whether it is meant for the house, for one endpoint where a client has it, or for one
    /// server where an app does. No two of these are like each other.
    fn is_meant_for(&self, house: &str) -> bool {
        let is_ours = self.aud.strip_prefix(house);
        match (&self.sid, &self.client_id, &self.scope, &self.org) {
            (Some(_), None, None, None) => is_ours == Some("") && self.ns.is_none(),
            (Some(_), Some(_), Some(_), None) => is_ours.is_none() && self.ns.is_none(),
            (None, None, Some(_), Some(_)) => is_ours.is_some(),
            _ => false,
        }
    }
}

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not one of ours, or was altered.
    Invalid,
    /// It was one of ours, and is over.
    Over,
}

/// A key that can verify what it signed.
pub(super) struct Key {
    /// The head of its tokens, as it stands there.
    head: String,
    /// After this moment nothing that it signed is good any more.
    until: Option<Timestamp>,
    secret: KeyKind,
}

enum KeyKind {
    Ed25519 {
        private: PKey<Private>,
        public: PKey<Public>,
    },
    /// Boxed: most keys are not of this kind.
    Hs256(Box<Mac>),
}

#[derive(Serialize)]
struct Head<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

impl Key {
    /// The key of a record; none where the record holds no key.
    pub(super) fn of(record: &SigningKey, until: Option<Timestamp>) -> Option<Self> {
        let seed = Zeroizing::new(URL_SAFE_NO_PAD.decode(record.seed.expose()).ok()?);
        let private = PKey::private_key_from_raw_bytes(&seed, Id::ED25519).ok()?;
        let raw = private.raw_public_key().ok()?;
        let public = PKey::public_key_from_raw_bytes(&raw, Id::ED25519).ok()?;
        let head = head("EdDSA", &record.id);
        Some(Self { head, until, secret: KeyKind::Ed25519 { private, public } })
    }

    /// The key that is shared with others.
    pub(super) fn shared(secret: &Secret) -> Self {
        let mac = Mac::new(secret.expose().as_bytes());
        let name = URL_SAFE_NO_PAD.encode(mac.of(b"tollhouse key name 1"));
        Self { head: head("HS256", &name), until: None, secret: KeyKind::Hs256(Box::new(mac)) }
    }

    /// A token that says this.
    pub(super) fn sign(&self, claims: &Claims) -> String {
        self.sign_text(&serde_json::to_vec(claims).expect("claims are plain data"))
    }

    fn sign_text(&self, claims: &[u8]) -> String {
        let signed = format!("{}.{}", self.head, URL_SAFE_NO_PAD.encode(claims));
        let signature = match &self.secret {
            KeyKind::Ed25519 { private, .. } => {
                let made = Signer::new_without_digest(private)
                    .and_then(|mut signer| signer.sign_oneshot_to_vec(signed.as_bytes()));
                made.expect("an Ed25519 key can always sign")
            }
            KeyKind::Hs256(mac) => mac.of(signed.as_bytes()).to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn is_signed(&self, signed: &str, signature: &[u8]) -> bool {
        match &self.secret {
            KeyKind::Ed25519 { public, .. } => Verifier::new_without_digest(public)
                .and_then(|mut it| it.verify_oneshot(signature, signed.as_bytes()))
                .unwrap_or(false),
            KeyKind::Hs256(mac) => mac.of(signed.as_bytes()).ct_eq(signature).into(),
        }
    }
}

/// A new key, as it is kept.
pub(super) fn generate(now: Timestamp) -> SigningKey {
    let private = PKey::generate_ed25519().expect("the operating system has randomness");
    let seed = Zeroizing::new(private.raw_private_key().expect("it was just made"));
    let public = private.raw_public_key().expect("it was just made");
    let seed = Secret::new(URL_SAFE_NO_PAD.encode(&*seed));
    SigningKey { id: thumbprint(&public), seed, created_at: now, retired_at: None }
}

/// The thumbprint of a public Ed25519 key (RFC 7638, RFC 8037).
fn thumbprint(public: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(sha256(jwk.as_bytes()))
}

/// Text nobody can guess, of 256 random bits.
pub(crate) fn random_text() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand_bytes(&mut *bytes).expect("the operating system has randomness");
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes))
}

fn head(alg: &str, kid: &str) -> String {
    let head = Head { alg, typ: "at+jwt", kid };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&head).expect("a head is plain data"))
}

/// Whether text looks like a token at all.
pub(super) fn is_claimed_by(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// What a token says, if one of these keys signed it and it is good now.
pub(super) fn verify(
    keys: &[Key],
    text: &str,
    house: &str,
    now: Timestamp,
) -> Result<Claims, Refusal> {
    if text.len() > LONGEST {
        return Err(Refusal::Invalid);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Invalid)?;
    let (head, claims) = signed.split_once('.').ok_or(Refusal::Invalid)?;
    let key = keys.iter().find(|key| key.head == head).ok_or(Refusal::Invalid)?;
    if key.until.is_some_and(|end| end <= now) {
        return Err(Refusal::Invalid);
    }
    let read = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Invalid);
    let (signature, claims) = (read(signature)?, read(claims)?);
    if !key.is_signed(signed, &signature) {
        return Err(Refusal::Invalid);
    }
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Refusal::Invalid)?;
    let seconds = now.as_ms().div_euclid(1_000);
    if claims.iss != house || !claims.is_meant_for(house) || claims.jti.is_empty() {
        return Err(Refusal::Invalid);
    }
    let begins = claims.nbf.max(claims.iat);
    if begins > seconds.saturating_add(LEEWAY) || claims.exp < begins {
        return Err(Refusal::Invalid);
    }
    if is_over(&claims, now) {
        return Err(Refusal::Over);
    }
    Ok(claims)
}

/// Whether a token was good once and is not any more.
pub(super) fn is_over(claims: &Claims, now: Timestamp) -> bool {
    ends(claims) <= now
}

/// The moment from which on a token is not good any more.
pub(super) fn ends(claims: &Claims) -> Timestamp {
    Timestamp::from_ms(claims.exp.saturating_add(LEEWAY).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    const HOUSE: &str = "urn:tollhouse:1";
    const NOW: Timestamp = Timestamp::from_ms(1_000_000_000);

    fn key() -> (SigningKey, Key) {
        let record = generate(NOW);
        let key = Key::of(&record, None).expect("a key");
        (record, key)
    }

    fn claims() -> Claims {
        Claims {
            iss: HOUSE.into(),
            aud: HOUSE.into(),
            sub: format!("user:{}", UserId::fixed(7)),
            sid: Some(LoginId::fixed(8)),
            jti: "j".into(),
            iat: 1_000_000,
            nbf: 1_000_000,
            exp: 1_000_600,
            client_id: None,
            scope: None,
            org: None,
            ns: None,
        }
    }

    fn json() -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(claims()) {
            Ok(serde_json::Value::Object(members)) => members,
            other => panic!("{other:?}"),
        }
    }

    fn told(keys: &[Key], text: &str) -> Result<Claims, Refusal> {
        verify(keys, text, HOUSE, NOW)
    }

    #[test]
    fn what_we_sign_says_what_it_said() {
        for key in [key().1, Key::shared(&Secret::new("x".repeat(32)))] {
            let text = key.sign(&claims());

            assert!(is_claimed_by(&text));
            assert_eq!(told(&[key], &text), Ok(claims()));
        }
    }

    #[test]
    fn a_head_that_is_not_ours_is_not_listened_to() {
        let (record, key) = key();
        let text = key.sign(&claims());
        let (_, rest) = text.split_once('.').expect("three parts");
        let payload = rest.split('.').next().expect("a payload");
        let KeyKind::Ed25519 { public, .. } = &key.secret else { panic!("an Ed25519 key") };
        let raw = public.raw_public_key().expect("bytes");
        let publics = [
            public.public_key_to_pem().expect("PEM"),
            public.public_key_to_der().expect("DER"),
            raw,
        ];
        let write = |head: &str| URL_SAFE_NO_PAD.encode(head);
        let kid = &record.id;

        let mut bad = Vec::new();
        for alg in ["none", "None", "nOnE", "", "HS256", "ES256", "EdDSA "] {
            let head = write(&format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{kid}"}}"#));
            bad.push(format!("{head}.{payload}."));
            bad.push(format!("{head}.{rest}"));
        }
        for public in publics {
            let mac = Mac::new(&public);
            let signed = format!("{}.{payload}", head("HS256", kid));
            let signature = URL_SAFE_NO_PAD.encode(mac.of(signed.as_bytes()));
            bad.push(format!("{signed}.{signature}"));
        }
        for other in [
            format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}"}}"#),
            format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}","jku":"https://evil.test"}}"#),
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"another"}"#.to_owned(),
        ] {
            let private = Key { head: write(&other), until: None, secret: key_of(&record) };
            bad.push(private.sign(&claims()));
        }
        let keys = [key];
        for text in bad {
            assert_eq!(told(&keys, &text), Err(Refusal::Invalid), "{text}");
        }
    }

    fn key_of(record: &SigningKey) -> KeyKind {
        Key::of(record, None).expect("a key").secret
    }

    #[test]
    fn every_claim_is_there_and_of_its_type() {
        let (_, key) = key();
        let keys = [key];
        let sign = |members: &serde_json::Map<String, serde_json::Value>| {
            keys[0].sign_text(serde_json::to_string(members).expect("JSON").as_bytes())
        };
        assert!(told(&keys, &sign(&json())).is_ok());

        for name in json().keys() {
            let mut members = json();
            members.remove(name);
            assert_eq!(told(&keys, &sign(&members)), Err(Refusal::Invalid), "without {name}");
            for value in ["null", "true", "[]", "{}", "1.5", r#""1000600""#, "-1e400"] {
                let Ok(value) = serde_json::from_str::<serde_json::Value>(value) else { continue };
                if value.is_string() && json()[name].is_string() {
                    continue;
                }
                let mut members = json();
                members.insert(name.clone(), value);
                assert_eq!(told(&keys, &sign(&members)), Err(Refusal::Invalid), "{members:?}");
            }
        }
        for (name, value) in [("aud", "urn:tollhouse:2"), ("iss", "urn:tollhouse:2"), ("jti", "")] {
            let mut members = json();
            members.insert(name.into(), value.into());
            assert_eq!(told(&keys, &sign(&members)), Err(Refusal::Invalid), "{name}");
        }
        let more = r#"{"role":"admin","#;
        let whole = serde_json::to_string(&json()).expect("JSON");
        let with_more = keys[0].sign_text(whole.replacen('{', more, 1).as_bytes());
        let twice = keys[0].sign_text(whole.replacen('{', r#"{"jti":"k","#, 1).as_bytes());
        assert_eq!(told(&keys, &with_more), Err(Refusal::Invalid));
        assert_eq!(told(&keys, &twice), Err(Refusal::Invalid));
    }

    #[test]
    fn a_clients_token_is_meant_for_one_endpoint_and_never_for_the_house() {
        let (_, key) = key();
        let keys = [key];
        let said = |aud: &str, client: bool, scope: bool| {
            let (client, scope) = (client.then(|| "c".into()), scope.then(|| "mcp:read".into()));
            let claims = Claims { aud: aud.into(), client_id: client, scope, ..claims() };
            told(&keys, &keys[0].sign(&claims)).is_ok()
        };

        assert!(said("https://gateway.test/mcp", true, true));
        assert!(!said(HOUSE, true, true) && !said("https://gateway.test/mcp", false, false));
        assert!(!said("https://gateway.test/mcp", true, false) && !said(HOUSE, false, true));
    }

    #[test]
    fn an_apps_token_belongs_to_no_sign_in_and_a_persons_always_does() {
        let (_, key) = key();
        let keys = [key];
        let (sid, org) = (Some(LoginId::fixed(8)), Some(OrganizationId::fixed(1)));
        let holds = |aud: &str, sid, scope: Option<&str>, org| {
            let scope = scope.map(str::to_owned);
            let claims = Claims { aud: aud.into(), sid, scope, org, ..claims() };
            told(&keys, &keys[0].sign(&claims)).is_ok()
        };

        assert!(holds(HOUSE, None, Some("tools:call"), org));
        assert!(holds("urn:tollhouse:1/servers/x", None, Some("tools:call"), org));
        assert!(!holds("https://gateway.test/mcp", None, Some("tools:call"), org));
        assert!(!holds(HOUSE, sid, Some("tools:call"), org) && !holds(HOUSE, sid, None, org));
        assert!(!holds(HOUSE, None, None, org) && !holds(HOUSE, None, Some("tools:call"), None));
    }

    #[test]
    fn time_has_a_leeway_of_half_a_minute() {
        let (_, key) = key();
        let keys = [key];
        let at = |iat: i64, nbf: i64, exp: i64| {
            told(&keys, &keys[0].sign(&Claims { iat, nbf, exp, ..claims() })).err()
        };

        assert_eq!(at(1_000_030, 1_000_030, 1_000_600), None);
        assert_eq!(at(1_000_031, 1_000_000, 1_000_600), Some(Refusal::Invalid));
        assert_eq!(at(1_000_000, 1_000_031, 1_000_600), Some(Refusal::Invalid));
        assert_eq!(at(999_000, 999_000, 999_971), None);
        assert_eq!(at(999_000, 999_000, 999_970), Some(Refusal::Over));
        assert_eq!(at(1_000_000, 1_000_000, 999_999), Some(Refusal::Invalid));
        assert_eq!(at(999_000, 999_000, i64::MAX), None);
    }

    #[test]
    fn what_was_altered_is_none() {
        let ((_, key), (_, other)) = (key(), key());
        let text = key.sign(&claims());
        let parts: Vec<&str> = text.split('.').collect();
        let [head, payload, signature] = parts[..] else { panic!("three parts") };
        let edited = URL_SAFE_NO_PAD.encode(
            serde_json::to_string(&Claims { sub: "user:x".into(), ..claims() }).expect("JSON"),
        );
        let bad = [
            format!("{head}.{edited}.{signature}"),
            format!("{head}.{payload}=.{signature}"),
            format!("{head}.{payload}.{signature}=="),
            format!("{head}.{payload}.{signature}."),
            format!(".{head}.{payload}.{signature}"),
            format!("{head}.{payload}"),
            format!("{head}.{payload}."),
            format!("{head}..{signature}"),
            format!("{head}.{payload}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
            format!("{head}.{payload}.{signature}{}", "A".repeat(64 << 10)),
            format!(" {text}"),
            other.sign(&claims()),
            String::new(),
            "..".into(),
        ];

        let keys = [key];
        for text in bad {
            assert_eq!(told(&keys, &text), Err(Refusal::Invalid), "{text}");
        }
    }

    #[test]
    fn a_key_that_retired_verifies_until_its_end() {
        let record = generate(NOW);
        let text = Key::of(&record, None).expect("a key").sign(&claims());
        let until = |ms: i64| [Key::of(&record, Some(Timestamp::from_ms(ms))).expect("a key")];

        assert!(told(&until(1_000_000_001), &text).is_ok());
        assert_eq!(told(&until(1_000_000_000), &text), Err(Refusal::Invalid));
    }

    #[test]
    fn a_thumbprint_is_that_of_rfc_8037() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let public = URL_SAFE_NO_PAD.decode(x).expect("base64");

        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
