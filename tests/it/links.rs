//! People's own accounts at servers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::sha::sha256;
use serde_json::{Value, json};

use crate::support::{
    Act, Answer, Browser, FakeServer, Gateway, PASSWORD, answer, eventually, field, modern_result,
};

const TOOL: &str = r#"{"name":"whoami","inputSchema":{"type":"object"}}"#;

/// A server with accounts, which is its own authorization server.
#[derive(Default)]
struct Accounts {
    /// Tokens that were given.
    given: AtomicUsize,
    /// The number of the first token that is good.
    first_good: AtomicUsize,
    /// Whether it renews nothing any more.
    is_strict: AtomicBool,
    /// Refresh tokens that are good, and whose.
    refresh: Mutex<HashMap<String, String>>,
    /// Tokens that were given back.
    revoked: Mutex<Vec<String>>,
}

impl Accounts {
    fn grant(&self, user: &str) -> Act {
        let number = self.given.fetch_add(1, Ordering::SeqCst);
        let refresh = format!("refresh-canary-{number}");
        self.refresh.lock().expect("no panic").insert(refresh.clone(), user.to_owned());
        let given = json!({"access_token": format!("at.{user}.{number}"), "token_type": "Bearer",
                           "expires_in": 3600, "refresh_token": refresh});
        Act::Json(given.to_string())
    }

    fn token(&self, form: &HashMap<String, String>) -> Act {
        let refuse = || Act::Status(400, r#"{"error":"invalid_grant"}"#.to_owned());
        if form["grant_type"] == "authorization_code" {
            // A code names who signed in, and the challenge that they came with.
            let (user, challenge) = form["code"].split_once('.').expect("a code of ours");
            let verifier = form["code_verifier"].as_bytes();
            let is_theirs = URL_SAFE_NO_PAD.encode(sha256(verifier)) == challenge;
            return if is_theirs { self.grant(user) } else { refuse() };
        }
        // Each is good once.
        let user = self.refresh.lock().expect("no panic").remove(&form["refresh_token"]);
        match user.filter(|_| !self.is_strict.load(Ordering::SeqCst)) {
            Some(user) => self.grant(&user),
            None => refuse(),
        }
    }

    fn whose(&self, shown: &str) -> Option<String> {
        let (user, number) = shown.strip_prefix("Bearer at.")?.split_once('.')?;
        let is_good = number.parse::<usize>().ok()? >= self.first_good.load(Ordering::SeqCst);
        is_good.then(|| user.to_owned())
    }
}

fn site(state: &Arc<Accounts>) -> FakeServer {
    let state = state.clone();
    FakeServer::play(move |seen| {
        let origin = seen.origin();
        let form = || url::form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect();
        match seen.head.split(' ').nth(1).expect("a path") {
            "/.well-known/oauth-protected-resource/mcp" => Act::Json(
                json!({"resource": format!("{origin}/mcp"), "authorization_servers": [origin]})
                    .to_string(),
            ),
            "/.well-known/oauth-authorization-server" => Act::Json(
                json!({
                    "issuer": origin,
                    "authorization_endpoint": format!("{origin}/authorize"),
                    "token_endpoint": format!("{origin}/token"),
                    "registration_endpoint": format!("{origin}/register"),
                    "revocation_endpoint": format!("{origin}/revoke"),
                    "code_challenge_methods_supported": ["S256"],
                    "token_endpoint_auth_methods_supported": ["none"],
                    "authorization_response_iss_parameter_supported": true,
                })
                .to_string(),
            ),
            "/register" => Act::Json(r#"{"client_id":"gate"}"#.to_owned()),
            "/token" => state.token(&form()),
            "/revoke" => {
                let form: HashMap<String, String> = form();
                state.revoked.lock().expect("no panic").push(form["token"].clone());
                Act::Json("{}".to_owned())
            }
            "/mcp" if !seen.body.is_empty() => {
                let Some(user) = state.whose(seen.header("authorization")) else {
                    return Act::Status(401, String::new());
                };
                let asked = seen.json();
                let result = json!({"resultType": "complete",
                                    "content": [{"type": "text", "text": format!("you are {user}")}]});
                Act::Json(answer(&asked, &modern_result(&asked, TOOL, &result.to_string())))
            }
            _ => Act::Status(404, String::new()),
        }
    })
}

/// A gateway before such a server, called `wiki`, with the people `ana` and `ben`.
struct House {
    gateway: Gateway,
    server: FakeServer,
    state: Arc<Accounts>,
}

fn house() -> House {
    let state = Arc::new(Accounts::default());
    let (gateway, server) = (Gateway::start(), site(&state));
    for name in ["ana", "ben"] {
        gateway.make_user("", name, "user");
    }
    let form = json!({"name": "wiki", "url": server.url, "auth": {"type": "oauth"}});
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()));
    assert_eq!(made.status, 201, "{}", made.text());
    House { gateway, server, state }
}

const PAGE: &str = "/oauth/servers/wiki";

/// Where a page sends somebody on.
fn link_on(page: &Answer) -> String {
    let text = page.text();
    let (_, rest) = text.split_once("<a href=\"").unwrap_or_else(|| panic!("no link: {text}"));
    rest.split('"').next().expect("a URL").replace("&amp;", "&")
}

impl House {
    /// Begins, and gives where whoever gives the tokens sends somebody back to, as `user` there.
    fn begin(&self, browser: &mut Browser<'_>, user: &str) -> String {
        let page = browser.decide(PAGE, "connect");
        assert_eq!(page.status, 200, "{}", page.text());
        self.back(&link_on(&page), user)
    }

    fn back(&self, url: &str, user: &str) -> String {
        let origin = self.server.url.trim_end_matches("/mcp");
        assert!(url.starts_with(&format!("{origin}/authorize?")), "{url}");
        let said = |name: &str| field(url, name).unwrap_or_else(|| panic!("no {name}: {url}"));
        assert_eq!((&*said("client_id"), &*said("code_challenge_method")), ("gate", "S256"));
        assert_eq!(said("resource"), self.server.url);
        assert_eq!(said("redirect_uri"), format!("http://{}/oauth/callback", self.gateway.address));
        let (code, state) = (format!("{user}.{}", said("code_challenge")), said("state"));
        let issuer: String = url::form_urlencoded::byte_serialize(origin.as_bytes()).collect();
        format!("/oauth/callback?code={code}&state={state}&iss={issuer}")
    }

    /// Has somebody of ours connect the account `user`.
    fn connect(&self, name: &str, user: &str) {
        let mut browser = Browser::signed_in(&self.gateway, name);
        let back = self.begin(&mut browser, user);
        let done = browser.get(&back);
        assert_eq!(done.status, 200, "{}", done.text());
        assert!(done.text().contains("is connected"), "{}", done.text());
    }

    /// A token of somebody of ours.
    fn token(&self, name: &str) -> String {
        let login = json!({"username": name, "password": PASSWORD}).to_string();
        let said = self.gateway.ask_as(None, "POST", "/auth/login", Some(&login)).json();
        said["access_token"].as_str().expect("a token").to_owned()
    }

    /// What the tool says to somebody.
    fn call(&self, token: &str) -> Value {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wiki__whoami","arguments":{}}}"#;
        self.gateway.ask_as(Some(token), "POST", "/rpc", Some(body)).json()
    }

    fn says(&self, token: &str) -> String {
        let said = self.call(token);
        let text = said["result"]["content"][0]["text"].as_str();
        text.map_or_else(|| said.to_string(), str::to_owned)
    }

    fn is_told_to_sign_in(&self, token: &str) -> bool {
        let said = self.call(token);
        let link = format!("http://{}{PAGE}", self.gateway.address);
        said["result"]["isError"] == true && said.to_string().contains(&link)
    }

    fn links(&self, token: &str) -> Value {
        self.gateway.ask_as(Some(token), "GET", "/auth/links", None).json()["data"].clone()
    }
}

#[test]
fn everybody_calls_with_their_own_account_and_with_nobody_elses() {
    let house = house();
    let (ana, ben) = (house.token("ana"), house.token("ben"));
    house.connect("ana", "ana-there");
    eventually("the tool is there", || (house.says(&ana) == "you are ana-there").then_some(()));

    assert!(house.is_told_to_sign_in(&ben), "{}", house.call(&ben));
    assert!(house.is_told_to_sign_in(&house.gateway.key), "{}", house.call(&house.gateway.key));
    house.connect("ben", "ben-there");
    for _ in 0..3 {
        assert_eq!(house.says(&ben), "you are ben-there");
        assert_eq!(house.says(&ana), "you are ana-there");
    }

    let (anas, bens) = (house.links(&ana), house.links(&ben));
    assert_eq!((anas.as_array().map(Vec::len), bens.as_array().map(Vec::len)), (Some(1), Some(1)));
    assert_eq!((&anas[0]["server"], &anas[0]["is_over"]), (&json!("wiki"), &json!(false)));
    let theirs = format!("/auth/links/{}", bens[0]["id"].as_str().expect("an id"));
    let missing = house.gateway.ask_as(Some(&ana), "DELETE", &theirs, None);
    assert_eq!(missing.status, 404, "{}", missing.text());
    let told = format!("{anas}{bens}{}", house.gateway.log());
    assert!(!told.contains("canary") && !told.contains("at.ana"), "{told}");
}

#[test]
fn an_account_outlives_a_restart_and_its_token_is_renewed() {
    let mut house = house();
    house.connect("ana", "ana-there");
    let ana = house.token("ana");
    eventually("the tool is there", || (house.says(&ana) == "you are ana-there").then_some(()));
    assert_eq!(house.state.given.load(Ordering::SeqCst), 1);

    house.gateway.signal("-TERM");
    house.gateway.wait();
    house.gateway.run(&[]);
    assert_eq!(house.says(&ana), "you are ana-there");
    assert_eq!(house.state.given.load(Ordering::SeqCst), 1, "the token was kept");

    // What was just given is not replaced at once; the server lets go of it for good.
    house.state.first_good.store(1, Ordering::SeqCst);
    eventually("it is renewed", || (house.says(&ana) == "you are ana-there").then_some(()));
    house.gateway.signal("-TERM");
    house.gateway.wait();
    house.gateway.run(&[]);
    house.state.first_good.store(2, Ordering::SeqCst);
    // The refresh token before was good once: only the new one, which was kept, renews.
    eventually("it is renewed", || (house.says(&ana) == "you are ana-there").then_some(()));
    assert_eq!(house.state.given.load(Ordering::SeqCst), 3);
}

#[test]
fn whoever_is_not_known_there_any_more_is_told_where_to_sign_in_and_keeps_the_tools() {
    let house = house();
    house.connect("ana", "ana-there");
    let ana = house.token("ana");
    eventually("the tool is there", || (house.says(&ana) == "you are ana-there").then_some(()));

    house.state.is_strict.store(true, Ordering::SeqCst);
    house.state.first_good.store(9, Ordering::SeqCst);
    eventually("it is over", || {
        (house.links(&ana)[0]["is_over"] == true).then_some(()).or_else(|| {
            house.call(&ana);
            None
        })
    });

    assert!(house.is_told_to_sign_in(&ana), "{}", house.call(&ana));
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let listed = house.gateway.ask_as(Some(&ana), "POST", "/rpc", Some(body));
    assert!(listed.text().contains("wiki__whoami"), "{}", listed.text());
    house.state.is_strict.store(false, Ordering::SeqCst);
    house.state.given.store(9, Ordering::SeqCst);
    house.connect("ana", "ana-again");
    assert_eq!(house.says(&ana), "you are ana-again");
}

#[test]
fn an_account_is_given_back_and_goes_with_its_server_and_its_person() {
    let house = house();
    for name in ["ana", "ben"] {
        house.connect(name, name);
    }
    let (ana, ben) = (house.token("ana"), house.token("ben"));
    eventually("the tool is there", || (house.says(&ana) == "you are ana").then_some(()));

    let id = house.links(&ana)[0]["id"].as_str().expect("an id").to_owned();
    let gone = house.gateway.ask_as(Some(&ana), "DELETE", &format!("/auth/links/{id}"), None);
    assert_eq!(gone.status, 200, "{}", gone.text());
    assert_eq!(*house.state.revoked.lock().expect("no panic"), ["refresh-canary-0"]);
    assert!(house.is_told_to_sign_in(&ana));

    assert_eq!(house.says(&ben), "you are ben");
    house.gateway.done(&["user", "delete", "ben"]);
    house.gateway.make_user("", "ben", "user");
    let ben = house.token("ben");
    assert_eq!(house.links(&ben), json!([]));
    assert!(house.is_told_to_sign_in(&ben));
    house.connect("ben", "ben");
    house.gateway.done(&["deregister", "wiki"]);
    assert_eq!(house.links(&ben), json!([]));
}

#[test]
fn a_sign_in_that_another_began_or_that_comes_from_elsewhere_connects_nothing() {
    let house = house();
    let mut ana = Browser::signed_in(&house.gateway, "ana");
    let mut ben = Browser::signed_in(&house.gateway, "ben");
    let status = |said: &Answer| (said.status, said.text().contains("is connected"));

    let lured = house.begin(&mut ana, "ana-there");
    let refused = ben.get(&lured);
    assert_eq!(status(&refused), (403, false), "{}", refused.text());
    assert_eq!(status(&ana.get(&lured)), (400, false), "what was tried once is over");
    for (from, to) in [("&iss=", "&iss=https%3A%2F%2Fevil.test&was="), ("&iss=", "&was=")] {
        let other = house.begin(&mut ana, "ana-there").replace(from, to);
        assert_eq!(status(&ana.get(&other)), (400, false), "{other}");
    }
    let denied = house.begin(&mut ana, "ana-there").replace("code=", "error=access_denied&was=");
    let denied = ana.get(&denied);
    assert_eq!(denied.status, 400);
    assert!(denied.text().contains("access_denied"), "{}", denied.text());
    assert_eq!(status(&ana.get("/oauth/callback?code=x&state=y")), (400, false));
    let good = house.begin(&mut ana, "ana-there");
    assert_eq!(status(&ana.get(&good)), (200, true));
    assert_eq!(status(&ana.get(&good)), (400, false), "a code is brought once");
    assert_eq!(house.state.given.load(Ordering::SeqCst), 1);
}

#[test]
fn browsers_that_keep_the_cookie_back_are_asked_once_more() {
    let house = house();
    let mut ana = Browser::signed_in(&house.gateway, "ana");
    let back = house.begin(&mut ana, "ana-there");

    let first = Browser::new(&house.gateway).get(&back);
    let again = link_on(&first);
    assert!(again.starts_with('?') && again.ends_with("&again=1"), "{again}");
    let path = format!("/oauth/callback{again}");
    let stranger = Browser::new(&house.gateway).get(&path);
    assert!(stranger.text().contains("<h1>Sign in</h1>"), "{}", stranger.text());
    let done = ana.get(&path);

    assert!(done.text().contains("is connected"), "{}", done.text());
}

#[test]
fn only_forms_of_our_own_pages_begin_anything() {
    let house = house();
    let mut ana = Browser::signed_in(&house.gateway, "ana");
    let csrf = ana.csrf(PAGE);
    let fields = [("decision", "connect"), ("csrf", &*csrf)];

    assert_eq!(ana.post_from("cross-site", PAGE, &fields).status, 403);
    assert_eq!(ana.post(PAGE, &[("decision", "connect"), ("csrf", "x")]).status, 403);
    let stranger = Browser::new(&house.gateway).get(PAGE);
    assert!(stranger.text().contains("<h1>Sign in</h1>"), "{}", stranger.text());
    assert_eq!(ana.get("/oauth/servers/nothing").status, 404);
    let asked = house.server.seen();
    assert!(!asked.iter().any(|seen| seen.head.contains("/register")), "nobody was asked yet");
    assert_eq!(ana.post(PAGE, &fields).status, 200);
}

#[test]
fn programs_begin_and_see_what_is_there() {
    let house = house();
    let ana = house.token("ana");
    let begin = |token: &str, server: &str| {
        let body = json!({"server": server}).to_string();
        house.gateway.ask_as(Some(token), "POST", "/auth/links", Some(&body))
    };

    let first = begin(&ana, "wiki");
    assert_eq!(first.status, 201, "{}", first.text());
    let url = first.json()["data"]["url"].as_str().expect("a URL").to_owned();
    let back = house.back(&url, "ana-there");
    let done = Browser::signed_in(&house.gateway, "ana").get(&back);
    assert!(done.text().contains("is connected"), "{}", done.text());

    assert_eq!(begin(&ana, "nothing").status, 404);
    let of_nobody = begin(&house.gateway.key, "wiki").json()["data"].clone();
    assert!(of_nobody["page"].is_string() && of_nobody.get("url").is_none(), "{of_nobody}");
    let said = house.gateway.ask_as(None, "GET", "/oauth/client.json", None).json();
    let id = format!("http://{}/oauth/client.json", house.gateway.address);
    assert_eq!((&said["client_id"], &said["client_name"]), (&json!(id), &json!("Tollhouse")));
    let shown = house.gateway.ask("GET", "/gateway/servers/wiki", None).json();
    assert_eq!(shown["data"]["auth"]["type"], "oauth");
}

#[test]
fn the_command_line_shows_the_page_and_says_all_of_a_definition() {
    let house = house();
    let page = format!("http://{}{PAGE}", house.gateway.address);
    assert_eq!(house.gateway.done(&["link", "add", "wiki"]).trim(), page);
    assert_eq!(house.gateway.done(&["link", "list", "-o", "json"]).trim(), "[]");

    let auth = |words: &[&str]| {
        let said = house.gateway.cli(&[&["server", "auth", "wiki", "--auth"], words].concat());
        let shown = house.gateway.ask("GET", "/gateway/servers/wiki", None).json();
        (said.status.success(), shown["data"]["auth"].clone())
    };
    let (is_taken, shown) = auth(&["oauth", "--auth-client", "gate", "--auth-scope", "a"]);
    assert!(is_taken && shown["client_id"] == "gate" && shown["scopes"] == "a", "{shown}");
    for words in [
        &["oauth", "--auth-secret-stdin"][..],
        &["client-credentials", "--auth-secret-stdin"],
        &["client-credentials", "--auth-client", "gate"],
        &["bearer", "--auth-secret-stdin", "--auth-scope", "a"],
    ] {
        assert!(!auth(words).0, "{words:?}");
    }
    let words = ["--auth", "client-credentials", "--auth-client", "gate", "--auth-secret-stdin"];
    let words = [&["server", "auth", "wiki"], &words[..]].concat();
    assert!(house.gateway.piped(&words, "canary-secret\n").status.success());
    let shown = house.gateway.ask("GET", "/gateway/servers/wiki", None);
    assert_eq!(shown.json()["data"]["auth"]["type"], "oauth2_client_credentials");
    assert!(!shown.text().contains("canary"), "{}", shown.text());
}
