//! Tokens that apps are given for their keys: good for minutes, and for less.

use serde_json::{Value, json};

use crate::support::{
    Act, Answer, FakeServer, Gateway, answer, legacy_session, modern_result, request,
};

const PATH: &str = "/auth/a2a/token";

/// A gateway with the servers `one` in the namespace `lab` and `two` elsewhere.
struct House {
    gateway: Gateway,
    _servers: Vec<FakeServer>,
}

fn house() -> House {
    house_with("")
}

fn house_with(config: &str) -> House {
    let gateway = Gateway::start_with(&[], config);
    gateway.done(&["namespace", "create", "lab"]);
    let server = || {
        FakeServer::play(|seen| {
            let asked = seen.json();
            let tool = r#"{"name":"now","inputSchema":{"type":"object"}}"#;
            let result = r#"{"resultType":"complete","content":[]}"#;
            Act::Json(answer(&asked, &modern_result(&asked, tool, result)))
        })
    };
    let servers = vec![server(), server()];
    gateway.done(&["register", "one", "--endpoint", &servers[0].url, "--namespace", "lab"]);
    gateway.done(&["register", "two", "--endpoint", &servers[1].url]);
    House { gateway, _servers: servers }
}

impl House {
    fn app_key(&self) -> (String, String) {
        let may = ["items:list", "tools:call", "servers:read"];
        let form = json!({"name": "bot", "type": "a2a", "permissions": may});
        self.gateway.make_key("", &form)
    }

    fn exchange(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        let json = [("Content-Type", "application/json")];
        self.send(&[headers, &json].concat(), &body.to_string())
    }

    fn send(&self, headers: &[(&str, &str)], body: &str) -> Answer {
        let asked = request("POST", PATH, &self.gateway.address, headers, Some(body));
        self.gateway.send(&asked)
    }

    /// The token for a key, as the body asks for it.
    fn token(&self, key: &str, body: &Value) -> String {
        let given = self.exchange(&[("X-API-Key", key)], body);
        assert_eq!(given.status, 200, "{body}: {}", given.text());
        given.json()["access_token"].as_str().expect("a token").to_owned()
    }

    fn refused(&self, key: &str, body: &Value) -> (u16, String) {
        let refused = self.exchange(&[("X-API-Key", key)], body);
        let word = refused.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(!refused.text().contains(key), "{}", refused.text());
        (refused.status, word)
    }

    fn tools(&self, token: &str) -> Vec<String> {
        let said = self.rpc(token, "tools/list", &json!({}));
        let tools = said["result"]["tools"].as_array().cloned().unwrap_or_default();
        let names = tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned());
        names.filter(|name| !name.starts_with("tollhouse")).collect()
    }

    fn rpc(&self, token: &str, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.gateway.ask_as(Some(token), "POST", "/rpc", Some(&body.to_string())).json()
    }

    fn calls(&self, token: &str, tool: &str) -> bool {
        self.rpc(token, "tools/call", &json!({"name": tool}))["result"].is_object()
    }
}

#[test]
fn a_key_is_exchanged_for_a_token_that_opens_what_the_key_does() {
    let house = house();
    let (id, key) = house.app_key();

    let given = house.exchange(&[("X-API-Key", &key)], &json!({}));

    assert_eq!(given.status, 200, "{}", given.text());
    assert_eq!(given.headers["cache-control"], "no-store");
    let said = given.json();
    let token = said["access_token"].as_str().expect("a token");
    assert_eq!(
        said,
        json!({
            "access_token": token,
            "token_type": "Bearer",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "expires_in": 300,
            "scope": "items:list tools:call servers:read",
        })
    );
    assert_eq!(house.tools(token), ["one__now", "two__now"]);
    assert!(house.calls(token, "two__now"));
    let who = house.gateway.ask_as(Some(token), "GET", "/auth/profile", None).json();
    assert_eq!(who["principal"], format!("key:{id}"));
    assert_eq!(house.gateway.ask_as(Some(token), "GET", "/auth/api-keys", None).status, 403);
}

#[test]
fn every_way_of_showing_the_key_will_do_but_no_two_at_once() {
    let house = house();
    let (id, key) = house.app_key();
    let form = |body: &str, more: &[(&str, &str)]| {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        house.send(&[&kind, more].concat(), body)
    };
    let basic = {
        use base64::{Engine, engine::general_purpose::STANDARD};
        format!("Basic {}", STANDARD.encode(format!("{id}:{key}")))
    };
    let bearer = format!("Bearer {key}");
    let by_form = format!("grant_type=client_credentials&client_id={id}&client_secret={key}");
    let exchanged = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={key}\
         &subject_token_type=urn:ietf:params:oauth:token-type:access_token&expires_in=60"
    );

    for (body, headers) in [
        (&*by_form, &[][..]),
        (&exchanged, &[]),
        ("grant_type=client_credentials", &[("Authorization", &*basic)]),
        ("grant_type=client_credentials", &[("Authorization", &*bearer)]),
    ] {
        let given = form(body, headers);
        assert_eq!(given.status, 200, "{body}: {}", given.text());
    }
    let twice = form(&by_form, &[("X-API-Key", &*key)]);
    assert_eq!((twice.status, &twice.json()["error"]), (400, &json!("invalid_request")));
    let other = form(&format!("client_id=abcdefghijkl&client_secret={key}"), &[]);
    assert_eq!((other.status, &other.json()["error"]), (401, &json!("invalid_client")));
    assert!(other.headers.contains_key("www-authenticate"));
    let odd = form("grant_type=password", &[("X-API-Key", &*key)]);
    assert_eq!((odd.status, &odd.json()["error"]), (400, &json!("unsupported_grant_type")));
    assert_eq!(form("", &[]).status, 401);
}

#[test]
fn a_token_goes_no_further_than_was_asked_for() {
    let house = house();
    let (_, key) = house.app_key();

    let lists = house.token(&key, &json!({"scope": "items:list"}));
    assert_eq!(house.tools(&lists), ["one__now", "two__now"]);
    assert!(!house.calls(&lists, "one__now"));
    let lab = house.token(&key, &json!({"namespace": "lab"}));
    assert_eq!(house.tools(&lab), ["one__now"]);
    assert!(house.calls(&lab, "one__now") && !house.calls(&lab, "two__now"));
    let two = house.token(&key, &json!({"audience": "two"}));
    assert_eq!(house.tools(&two), ["two__now"]);
    assert!(!house.calls(&two, "one__now"));

    for (body, word) in [
        (json!({"scope": "keys:write"}), "invalid_scope"),
        (json!({"scope": "*"}), "invalid_scope"),
        (json!({"scope": "no such thing"}), "invalid_scope"),
        (json!({"namespace": "nowhere"}), "invalid_target"),
        (json!({"audience": "nobody"}), "invalid_target"),
        (json!({"audience": "two", "namespace": "lab"}), "invalid_target"),
        (json!({"expires_in": 3_601}), "invalid_request"),
        (json!({"expires_in": 0}), "invalid_request"),
        (json!({"role": "admin"}), "invalid_request"),
    ] {
        assert_eq!(house.refused(&key, &body), (400, word.to_owned()), "{body}");
    }
}

#[test]
fn a_token_is_exchanged_for_less_and_never_for_more() {
    let house = house();
    let (_, key) = house.app_key();
    let lab = json!({"namespace": "lab", "scope": "items:list tools:call", "expires_in": 60});
    let lab = house.token(&key, &lab);
    let exchange = |body: &Value| {
        let mut body = body.clone();
        body["subject_token"] = lab.clone().into();
        house.exchange(&[], &body)
    };

    let less = exchange(&json!({"scope": "items:list", "expires_in": 3_600}));

    assert_eq!(less.status, 200, "{}", less.text());
    assert!(less.json()["expires_in"].as_u64().is_some_and(|left| left <= 60));
    let less = less.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(house.tools(&less), ["one__now"]);
    assert!(!house.calls(&less, "one__now"));
    assert_eq!(exchange(&json!({"scope": "servers:read"})).status, 400);
    assert_eq!(exchange(&json!({"audience": "two"})).status, 400);
}

#[test]
fn what_ends_the_key_ends_the_token_and_what_it_opened() {
    let house = house();
    let (id, key) = house.app_key();
    let token = house.token(&key, &json!({}));
    let held = house.gateway.with_key(&token);
    let session = legacy_session(&held, "/mcp");
    assert!(!session.id.is_empty());

    let changed = json!({"permissions": ["items:list"]}).to_string();
    let changed = house.gateway.ask("PATCH", &format!("/auth/api-keys/{id}"), Some(&changed));
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(house.tools(&token), ["one__now", "two__now"]);
    assert!(!house.calls(&token, "one__now"), "less than it was given with");

    house.gateway.done(&["key", "revoke", &id]);
    assert_eq!(house.gateway.ask_as(Some(&token), "GET", "/auth/profile", None).status, 401);
    assert_eq!(house.refused(&key, &json!({})).0, 401);
    assert_eq!(house.exchange(&[], &json!({"subject_token": token})).status, 401);
}

#[test]
fn keys_of_people_and_what_people_are_given_are_not_exchanged() {
    let house = house();
    let (_, key) = house.gateway.make_key("", &json!({"name": "mine", "role": "user"}));
    house.gateway.make_user("", "ana", "user");
    let form = json!({"username": "ana", "password": crate::support::PASSWORD}).to_string();
    let signed_in = house.gateway.ask_as(None, "POST", "/auth/login", Some(&form)).json();
    let token = signed_in["access_token"].as_str().expect("a token");

    assert_eq!(house.refused(&key, &json!({})), (403, "unauthorized_client".to_owned()));
    let exchanged = house.exchange(&[], &json!({"subject_token": token}));
    assert_eq!(exchanged.status, 403, "{}", exchanged.text());
    assert_eq!(house.refused("thk_live_nothing", &json!({})).0, 401);
}

#[test]
fn another_tenants_servers_are_like_none() {
    let house = house();
    let boss = house.gateway.make_tenant(&json!({"slug": "acme", "name": "Acme"}));
    let acme = house.gateway.with_key(&boss);
    let (_, key) = acme.make_key("", &json!({"name": "bot", "type": "a2a", "role": "user"}));

    let theirs = house.exchange(&[("X-API-Key", &key)], &json!({"audience": "two"}));
    let nobody = house.exchange(&[("X-API-Key", &key)], &json!({"audience": "none"}));

    assert_eq!((theirs.status, theirs.text()), (nobody.status, nobody.text()));
    assert_eq!(house.tools(&house.token(&key, &json!({}))), Vec::<String>::new());
}
