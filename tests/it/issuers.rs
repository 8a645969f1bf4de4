//! People whom another issuer vouches for.

use std::{
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    pkey::{PKey, Private},
    sign::Signer,
};
use serde_json::{Value, json};

use crate::support::{
    Act, FakeServer, Gateway, answer, eventually, legacy_session, modern_result, request,
};

/// An issuer with a signing key that it can change.
struct Issuer {
    site: FakeServer,
    key: Arc<Mutex<(String, PKey<Private>)>>,
}

impl Issuer {
    fn open() -> Self {
        let key = Arc::new(Mutex::new(("1".to_owned(), generate())));
        let shown = key.clone();
        let site = FakeServer::play(move |seen| {
            let origin = seen.origin();
            let (id, key) = &*shown.lock().expect("no panic");
            let x = URL_SAFE_NO_PAD.encode(key.raw_public_key().expect("bytes"));
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": x});
            if seen.head.starts_with("GET /.well-known/openid-configuration ") {
                Act::Json(
                    json!({"issuer": origin, "jwks_uri": format!("{origin}/jwks")}).to_string(),
                )
            } else if seen.head.starts_with("GET /jwks ") {
                Act::Json(json!({"keys": [jwk]}).to_string())
            } else {
                Act::Status(404, String::new())
            }
        });
        Self { site, key }
    }

    fn url(&self) -> &str {
        self.site.url.trim_end_matches("/mcp")
    }

    /// How often its keys were read.
    fn reads(&self) -> usize {
        self.site.seen().iter().filter(|seen| seen.head.starts_with("GET /jwks ")).count()
    }

    fn change_key(&self, id: &str) {
        *self.key.lock().expect("no panic") = (id.to_owned(), generate());
    }

    /// A token for the audience `tools`, good for a minute, that says this besides.
    fn token(&self, more: &Value) -> String {
        let now = now();
        let mut claims =
            json!({"iss": self.url(), "sub": "ana", "aud": "tools", "iat": now, "exp": now + 60});
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let (id, key) = &*self.key.lock().expect("no panic");
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let head = json!({"alg": "EdDSA", "kid": id, "typ": "at+jwt"});
        let signed = format!("{}.{}", part(head), part(claims));
        let mut maker = Signer::new_without_digest(key).expect("a signer");
        let signature = maker.sign_oneshot_to_vec(signed.as_bytes()).expect("signed");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A gateway that trusts it, and says this about it besides.
    fn gateway(&self, more: &str) -> Gateway {
        let config = format!(
            "access:\n  issuer_keys: {{retry_seconds: 1}}\n  issuers:\n    - issuer: {}\n      private: true\n{more}",
            self.url()
        );
        Gateway::start_with(&[], &config)
    }
}

fn generate() -> PKey<Private> {
    PKey::generate_ed25519().expect("a key")
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a token says times of the real clock")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

const GROUPS: &str = "      audience: [tools]\n      claims: {role: groups, organization: org}\n      roles: {staff: user, chiefs: admin}\n";

fn status(gateway: &Gateway, token: &str, path: &str) -> u16 {
    gateway.ask_as(Some(token), "GET", path, None).status
}

fn rpc(gateway: &Gateway, token: &str) -> u16 {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    gateway.ask_as(Some(token), "POST", "/rpc", Some(body)).status
}

#[test]
fn somebody_comes_in_as_what_their_claims_make_of_them() {
    let issuer = Issuer::open();
    let gateway = issuer.gateway(GROUPS);
    let with = |groups: Value| issuer.token(&json!({"groups": groups, "org": "default"}));
    let (user, admin) = (with(json!(["staff"])), with(json!(["staff", "chiefs"])));

    assert_eq!((rpc(&gateway, &user), rpc(&gateway, &admin)), (200, 200));
    assert_eq!(status(&gateway, &user, "/auth/users"), 403);
    assert_eq!(status(&gateway, &admin, "/auth/users"), 200);
    // Nobody from elsewhere stands above organizations.
    assert_eq!(status(&gateway, &admin, "/metrics"), 403);
    let profile = gateway.ask_as(Some(&user), "GET", "/auth/profile", None);
    assert_eq!(profile.status, 200, "{}", profile.text());
    assert!(profile.text().contains("federated:"), "{}", profile.text());

    let nobody = gateway.ask_as(Some(&with(json!(["guests"]))), "GET", "/servers", None);
    assert_eq!(nobody.status, 403);
    assert!(nobody.text().contains("no role here"), "{}", nobody.text());
    for org in [json!("elsewhere"), json!(7)] {
        let token = issuer.token(&json!({"groups": ["staff"], "org": org}));
        assert_eq!(rpc(&gateway, &token), 403, "{org}");
    }
    assert_eq!(issuer.reads(), 1, "its keys are remembered");
}

#[test]
fn tokens_that_are_for_others_over_or_forged_open_nothing() {
    let issuer = Issuer::open();
    let gateway = issuer.gateway("      audience: [tools]\n      role: admin\n");
    assert_eq!(status(&gateway, &issuer.token(&json!({})), "/auth/users"), 200);

    let forger = Issuer::open();
    for (what, token) in [
        ("audience", issuer.token(&json!({"aud": "others"}))),
        ("over", issuer.token(&json!({"exp": 1_000_000}))),
        ("issuer", forger.token(&json!({}))),
        ("signature", forger.token(&json!({"iss": issuer.url()}))),
    ] {
        assert_eq!(status(&gateway, &token, "/auth/users"), 401, "{what}");
        assert_eq!(rpc(&gateway, &token), 401, "{what}");
    }
    assert_eq!(forger.site.seen().len(), 0, "nobody is asked who is not trusted");
}

#[test]
fn a_new_key_is_read_once_and_an_old_one_opens_nothing_then() {
    let issuer = Issuer::open();
    let gateway = issuer.gateway("      audience: [tools]\n      role: user\n");
    let old = issuer.token(&json!({}));
    assert_eq!(rpc(&gateway, &old), 200);

    issuer.change_key("2");
    let new = issuer.token(&json!({}));
    // It may be asked again a second after it was asked last.
    eventually("the new key is known", || (rpc(&gateway, &new) == 200).then_some(()));

    assert_eq!(issuer.reads(), 2);
    assert_eq!(rpc(&gateway, &old), 401);
    // Names that are made up do not have it asked at every call.
    for number in 0..20 {
        issuer.key.lock().expect("no panic").0 = format!("made up {number}");
        assert_eq!(rpc(&gateway, &issuer.token(&json!({}))), 401);
    }
    assert!(issuer.reads() <= 2 + 20 / 4, "{} reads", issuer.reads());
}

#[test]
fn while_keys_cannot_be_read_it_is_said_so() {
    let issuer = Issuer::open();
    let config =
        "      jwks_url: http://127.0.0.1:1/jwks\n      audience: [tools]\n      role: user\n";
    let gateway = issuer.gateway(config);

    let said = gateway.ask_as(Some(&issuer.token(&json!({}))), "GET", "/servers", None);

    assert_eq!(said.status, 503, "{}", said.text());
    assert!(said.text().contains("try again in a moment"), "{}", said.text());
    assert!(!said.text().contains("127.0.0.1"), "{}", said.text());
}

#[test]
fn without_an_audience_a_token_opens_the_endpoint_that_it_names() {
    let issuer = Issuer::open();
    let gateway = issuer.gateway("      role: user\n");
    let endpoint = format!("http://{}/mcp", gateway.address);
    let token = issuer.token(&json!({"aud": endpoint}));
    let here = gateway.with_key(&token);

    let session = legacy_session(&here, "/mcp");
    assert_eq!(session.call("tools/list", "{}").status, 200);
    assert_eq!((rpc(&gateway, &token), status(&gateway, &token, "/servers")), (401, 401));
    let turned_away = gateway.ask_as(Some(&token), "POST", "/mcp/default", Some("{}"));
    assert_eq!(turned_away.status, 401);
}

#[test]
fn whoever_is_turned_away_is_told_of_the_issuers() {
    let issuer = Issuer::open();
    let metadata = "/.well-known/oauth-protected-resource/mcp";
    let told = |config: &str| {
        let gateway = issuer.gateway(config);
        let told = gateway.ask_as(None, "GET", metadata, None).json();
        let asked = request("POST", "/mcp", &gateway.address, &[], Some("{}"));
        let challenge = gateway.send(&asked).headers.get("www-authenticate").cloned();
        (gateway.address.clone(), told, challenge.unwrap_or_default())
    };

    let (address, both, challenge) = told("      role: user\n");
    assert_eq!(both["authorization_servers"], json!([format!("http://{address}"), issuer.url()]));
    assert!(challenge.contains("scope="), "{challenge}");
    let (_, alone, challenge) = told("      role: user\n  oauth: {enabled: false}\n");
    assert_eq!(alone["authorization_servers"], json!([issuer.url()]));
    assert!(alone.get("scopes_supported").is_none(), "{alone}");
    let place = "resource_metadata=";
    assert!(challenge.contains(place) && !challenge.contains("scope="), "{challenge}");
}

#[test]
fn a_stream_ends_with_the_token_it_was_opened_with() {
    let issuer = Issuer::open();
    let gateway = issuer.gateway("      audience: [tools]\n      role: user\n");
    let now = now();
    // It is good for half a minute beyond its end, for clocks that differ.
    let token = issuer.token(&json!({"exp": now - 28}));
    let mut stream = gateway.connect();
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", &*bearer), ("Accept", "text/event-stream")];
    stream.send(&request("GET", "/sse", &gateway.address, &headers, None));
    assert!(stream.until("endpoint").contains("200"));

    stream.until("0\r\n\r\n");
    assert_eq!(rpc(&gateway, &token), 401);
}

#[test]
fn policies_know_whom_others_vouch_for() {
    let issuer = Issuer::open();
    let gateway = issuer.gateway("      audience: [tools]\n      role: user\n");
    let server = FakeServer::modern(
        r#"{"name":"now","inputSchema":{"type":"object"}}"#,
        r#"{"resultType":"complete","content":[{"type":"text","text":"noon"}]}"#,
    );
    gateway.done(&["register", "clock", "--endpoint", &server.url]);
    let token = issuer.token(&json!({}));
    let call = || {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"clock__now","arguments":{}}}"#;
        gateway.ask_as(Some(&token), "POST", "/rpc", Some(body)).text().to_owned()
    };
    eventually("the tool is there", || call().contains("noon").then_some(()));

    let policy = json!({
        "name": "ours", "conditions": {"caller.kind": "federated"}, "actions": {"effect": "deny"},
    });
    let made = gateway.ask("POST", "/policies", Some(&policy.to_string()));
    assert!(made.status < 300, "{}", made.text());

    assert!(!call().contains("noon"));
}

#[test]
fn a_token_is_exchanged_for_one_that_a_server_takes_and_never_goes_on() {
    let issuer = Issuer::open();
    let gateway = issuer.gateway("      audience: [tools]\n      role: user\n");
    let tool = r#"{"name":"whoami","inputSchema":{"type":"object"}}"#;
    let server = FakeServer::play(move |seen| {
        if seen.head.starts_with("POST /token ") {
            let form: std::collections::HashMap<String, String> =
                url::form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect();
            // Whose it is stands in the token that was brought.
            let payload = form.get("subject_token").and_then(|token| token.split('.').nth(1));
            let claims = payload.map(|it| URL_SAFE_NO_PAD.decode(it).expect("base64"));
            let claims = claims.map(|it| serde_json::from_slice::<Value>(&it).expect("claims"));
            let whose = claims.map_or("nobody".to_owned(), |it| it["sub"].to_string());
            let token = format!("x.{}", whose.trim_matches('"'));
            let given = json!({"access_token": token, "token_type": "Bearer", "expires_in": 300,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"});
            return Act::Json(given.to_string());
        }
        let Some(whose) = seen.header("authorization").strip_prefix("Bearer x.") else {
            return Act::Status(401, String::new());
        };
        let said = json!({"resultType": "complete",
                          "content": [{"type": "text", "text": format!("you are {whose}")}]});
        let asked = seen.json();
        Act::Json(answer(&asked, &modern_result(&asked, tool, &said.to_string())))
    });
    let token_url = server.url.replace("/mcp", "/token");
    let auth = json!({"type": "oauth2_token_exchange", "token_url": token_url, "client_id": "gate",
                      "client_secret": "canary-7f", "audience": "files"});
    let form = json!({"name": "files", "url": server.url, "auth": auth}).to_string();
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form));
    // What it offers is asked for in the gateway's own name.
    assert_eq!(made.json()["data"]["tools"], 1, "{}", made.text());

    let says = |token: &str| {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"files__whoami","arguments":{}}}"#;
        gateway.ask_as(Some(token), "POST", "/rpc", Some(body)).json()
    };
    let (ana, ben) = (issuer.token(&json!({})), issuer.token(&json!({"sub": "ben"})));
    for _ in 0..3 {
        assert_eq!(says(&ana)["result"]["content"][0]["text"], "you are ana");
        assert_eq!(says(&ben)["result"]["content"][0]["text"], "you are ben");
    }
    let refused = says(&gateway.key).to_string();
    assert!(refused.contains("tokens of your identity provider"), "{refused}");

    let seen = server.seen();
    let forms = seen.iter().filter(|seen| seen.body.contains("token-exchange"));
    assert_eq!(forms.clone().count(), 2, "each was exchanged once");
    assert!(forms.clone().all(|seen| seen.body.contains("audience=files")));
    let carried = seen.iter().filter(|seen| seen.head.starts_with("POST /mcp "));
    assert!(carried.clone().count() > 6);
    assert!(carried.clone().all(|seen| !seen.head.contains(&ana) && !seen.body.contains(&ana)));
    assert!(!gateway.log().contains("canary-7f") && !gateway.log().contains(&ana));
}
