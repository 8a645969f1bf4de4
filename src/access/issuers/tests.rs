//! Whose tokens of other issuers open something.

use serde_json::json;

use super::{jwks::tests::Pair, *};
use crate::domain::{Permission, Role};

const ISSUER: &str = "https://id.test";
const NOW: i64 = 1_000_000;

fn now() -> Timestamp {
    Timestamp::from_ms(NOW * 1_000)
}

fn settings(more: Value) -> Settings {
    let mut all = json!({"issuer": ISSUER, "audience": ["tools"], "role": "user"});
    let Value::Object(more) = more else { panic!("settings are an object") };
    all.as_object_mut().expect("an object").extend(more);
    serde_json::from_value(all).expect("settings")
}

/// An issuer that publishes these keys.
fn issuers(more: Value, pairs: &[&Pair]) -> Issuers {
    let issuers = Issuers::new(&[settings(more)], KeySettings::default());
    let set = json!({"keys": pairs.iter().map(|pair| &pair.jwk).collect::<Vec<_>>()});
    let all = jwks::read(set.to_string().as_bytes()).expect("a set");
    issuers.known[0].keys.store(Arc::new(Keys { all, read_at: Some(now()) }));
    issuers
}

fn claims(more: Value) -> Value {
    let mut all = json!({"iss": ISSUER, "sub": "ana", "aud": "tools", "exp": NOW + 60});
    let Value::Object(more) = more else { panic!("claims are an object") };
    all.as_object_mut().expect("an object").extend(more);
    all
}

fn head(pair: &Pair) -> Value {
    json!({"alg": pair.algorithm, "kid": pair.jwk["kid"], "typ": "JWT"})
}

fn write(pair: &Pair, head: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())))
}

fn token(pair: &Pair, more: Value) -> String {
    write(pair, &head(pair).to_string(), &claims(more).to_string())
}

fn is_good(issuers: &Issuers, token: &str) -> bool {
    matches!(issuers.read(token, now()), Some(Ok(_)))
}

#[test]
fn a_token_of_a_trusted_issuer_is_good_until_its_end() {
    let pair = Pair::new(Algorithm::RS256, "1");
    let issuers = issuers(json!({}), &[&pair]);
    let token = token(&pair, json!({"nbf": NOW, "iat": NOW - 5, "aud": ["x", "tools"]}));

    let vouched = issuers.read(&token, now()).expect("its issuer is known").expect("good");
    let later = now().after(Duration::from_secs(91));

    assert_eq!(vouched.subject.role, Some(Role::User));
    assert_eq!(vouched.ends_at, now().after(Duration::from_secs(90)));
    assert!(matches!(issuers.read(&token, later), Some(Err(Error::TokenOver))));
}

#[test]
fn what_a_token_lacks_or_says_in_another_type_makes_it_none() {
    let pair = Pair::new(Algorithm::EdDSA, "1");
    let issuers = issuers(json!({}), &[&pair]);
    assert!(is_good(&issuers, &token(&pair, json!({}))));

    for wrong in [
        json!({"iss": "https://evil.test"}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": [ISSUER]}),
        json!({"aud": "other"}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": null}),
        json!({"exp": null}),
        json!({"exp": (NOW + 60).to_string()}),
        json!({"exp": NOW - 31}),
        json!({"nbf": NOW + 31}),
        json!({"nbf": "soon"}),
        json!({"iat": NOW + 31}),
        json!({"iat": true}),
        json!({"cnf": {"jkt": "x"}}),
    ] {
        assert!(!is_good(&issuers, &token(&pair, wrong.clone())), "{wrong}");
    }
    for name in ["iss", "sub", "aud", "exp"] {
        let mut claims = claims(json!({}));
        claims.as_object_mut().expect("an object").remove(name);
        let token = write(&pair, &head(&pair).to_string(), &claims.to_string());
        assert!(!is_good(&issuers, &token), "{name}");
    }
    let twice = claims(json!({})).to_string().replace('}', r#","aud":"tools"}"#);
    assert!(!is_good(&issuers, &write(&pair, &head(&pair).to_string(), &twice)));
}

#[test]
fn a_head_does_not_choose_how_it_is_verified() {
    let (pair, other) = (Pair::new(Algorithm::RS256, "1"), Pair::new(Algorithm::RS256, "2"));
    let issuers = issuers(json!({"algorithms": ["RS256"]}), &[&pair]);
    let claims = claims(json!({})).to_string();
    let with = |more: Value| {
        let mut head = head(&pair);
        head.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("it"));
        write(&pair, &head.to_string(), &claims)
    };
    assert!(is_good(&issuers, &with(json!({}))));

    for more in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "HS256"}),
        json!({"alg": "RS512"}),
        json!({"alg": ["RS256"]}),
        json!({"kid": "3"}),
        json!({"kid": 1}),
        json!({"typ": "logout+jwt"}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": null}),
        json!({"crit": ["exp"]}),
    ] {
        assert!(!is_good(&issuers, &with(more.clone())), "{more}");
    }
    // Keys that a token brings along are not looked at.
    let jwk = json!({"kid": "1", "jwk": other.jwk, "jku": "https://evil.test"});
    let mut foreign = head(&other);
    foreign.as_object_mut().expect("an object").extend(jwk.as_object().cloned().expect("it"));
    assert!(!is_good(&issuers, &write(&other, &foreign.to_string(), &claims)));
    let (signed, ()) =
        token(&pair, json!({})).rsplit_once('.').map(|it| (it.0.to_owned(), ())).expect("parts");
    assert!(!is_good(&issuers, &format!("{signed}.")));
}

#[test]
fn a_token_without_a_key_id_is_of_the_only_key_it_can_be_of() {
    let (one, two) = (Pair::new(Algorithm::ES256, "1"), Pair::new(Algorithm::ES256, "2"));
    let ed = Pair::new(Algorithm::EdDSA, "3");
    let unnamed = write(&one, r#"{"alg":"ES256"}"#, &claims(json!({})).to_string());

    assert!(is_good(&issuers(json!({}), &[&one, &ed]), &unnamed));
    assert!(!is_good(&issuers(json!({}), &[&one, &two]), &unnamed));
}

#[test]
fn without_an_audience_in_the_settings_a_token_opens_the_endpoint_it_names() {
    let pair = Pair::new(Algorithm::ES256, "1");
    let issuers = issuers(json!({"audience": []}), &[&pair]);
    let token = token(&pair, json!({"aud": ["https://gate.test/mcp"]}));

    let vouched = issuers.read(&token, now()).expect("known").expect("good");

    assert!(vouched.is_meant_for(Some("https://gate.test/mcp")));
    assert!(!vouched.is_meant_for(Some("https://gate.test/mcp/team")));
    assert!(!vouched.is_meant_for(None));
}

#[test]
fn keys_are_due_when_they_are_unknown_or_old_but_not_again_at_once() {
    let pair = Pair::new(Algorithm::ES256, "1");
    let issuers = issuers(json!({}), &[&pair]);
    let issuer = &issuers.known[0];
    let after = |seconds| now().after(Duration::from_secs(seconds));

    assert!(!issuers.is_due(issuer, Some("1"), now()));
    assert!(issuers.is_due(issuer, Some("2"), now()));
    assert!(issuers.is_due(issuer, None, after(3_600)));
    *issuer.tried_at.lock() = Some(now());
    assert!(!issuers.is_due(issuer, Some("2"), after(29)));
    assert!(issuers.is_due(issuer, Some("2"), after(30)));

    // What cannot be read again holds on for a day, and no longer.
    let long = token(&pair, json!({"exp": NOW + 1_000_000}));
    let told = |seconds| issuers.read(&long, after(seconds)).map(|read| read.is_ok());
    issuers.good.write().clear();
    assert_eq!(told(90_001), Some(false));
    assert_eq!(told(89_999), Some(true));
}

#[test]
fn an_issuer_says_itself_where_its_keys_are() {
    let issuers = Issuers::new(&[settings(json!({}))], KeySettings::default());
    let issuer = &issuers.known[0];
    let told = |document: Value| issuer.set_of(document.to_string().as_bytes());
    let set = "https://keys.test/jwks";

    assert_eq!(told(json!({"issuer": ISSUER, "jwks_uri": set})).as_deref(), Some(set));
    assert_eq!(told(json!({"issuer": "https://evil.test", "jwks_uri": set})), None);
    assert_eq!(told(json!({"jwks_uri": set})), None);
    assert_eq!(told(json!({"issuer": ISSUER, "jwks_uri": "http://127.0.0.1/jwks"})), None);
    assert_eq!(told(json!({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"})), None);

    let of = |issuer: &str| {
        let issuers = Issuers::new(&[settings(json!({"issuer": issuer}))], KeySettings::default());
        match issuers.known[0].place() {
            Place::Told(urls) => urls,
            Place::Set(url) => vec![url],
        }
    };
    let realm = "https://id.test/realms/a/.well-known/openid-configuration";
    let server = "https://id.test/.well-known/oauth-authorization-server/realms/a";
    assert_eq!(of("https://id.test/realms/a/"), [realm, server]);
}

#[test]
fn settings_that_let_nobody_or_everybody_in_are_refused() {
    let wrong = |more: Value| check(&[settings(more)]).err().map(|misfit| misfit.wrong);

    assert_eq!(wrong(json!({})), None);
    assert_eq!(wrong(json!({"claims": {"role": "g"}, "roles": {"x": "user"}})), None);
    assert_eq!(wrong(json!({"private": true, "issuer": "http://localhost:8080/a"})), None);
    for (more, said) in [
        (json!({"role": null}), "lets nobody in"),
        (json!({"claims": {"role": "g"}}), "has roles without"),
        (json!({"roles": {"x": "user"}}), "has roles without"),
        (json!({"algorithms": []}), "has no algorithms"),
        (json!({"issuer": "http://id.test"}), "is not asked"),
        (json!({"private": true, "issuer": "http://id.test"}), "is not asked"),
        (json!({"issuer": "http://localhost:8080"}), "is not asked"),
        (json!({"jwks_url": "https://a:b@id.test/k"}), "is not asked"),
        (json!({"issuer": "id.test"}), "is not asked"),
    ] {
        assert!(wrong(more.clone()).is_some_and(|it| it.contains(said)), "{more}");
    }
    assert!(check(&[settings(json!({})), settings(json!({}))]).is_err());
}

#[test]
fn a_subject_may_what_both_its_role_and_its_token_say() {
    let pair = Pair::new(Algorithm::ES256, "1");
    let more = json!({"claims": {"permissions": "scope"}});
    let issuers = issuers(more, &[&pair]);
    let token = token(&pair, json!({"scope": "mcp:call users:write"}));

    let vouched = issuers.read(&token, now()).expect("known").expect("good");
    let may = Role::User.permissions().and(vouched.subject.within);

    assert!(may.has(Permission::ToolsCall));
    assert!(!may.has(Permission::UsersWrite) && !may.has(Permission::ItemsList));
}
