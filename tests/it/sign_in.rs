//! Signing in, what it opens, and how fast it closes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, LegacySession, PASSWORD, Socket, eventually, gateway_meta, legacy_session,
    request,
};

const OTHER: &str = "a much longer sentence than before";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Asks without the administrator's key.
fn ask(
    gateway: &Gateway,
    verb: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Answer {
    let json = [("Content-Type", "application/json")];
    let is_said = headers.iter().any(|(name, _)| *name == "Content-Type");
    let all = if is_said { headers.to_vec() } else { [headers, &json].concat() };
    gateway.send(&request(verb, path, &gateway.address, &all, body))
}

fn log_in(gateway: &Gateway) -> Value {
    let body = json!({"username": "admin", "password": PASSWORD}).to_string();
    let said = ask(gateway, "POST", "/auth/login", &[], Some(&body));
    assert_eq!(said.status, 200, "{}", said.text());
    said.json()
}

fn access_token(signed_in: &Value) -> &str {
    signed_in["access_token"].as_str().expect("a token")
}

fn profile(gateway: &Gateway, token: &str) -> u16 {
    ask(gateway, "GET", "/auth/profile", &[("Authorization", &bearer(token))], None).status
}

/// How long it takes until something is so.
#[expect(clippy::disallowed_methods, reason = "a test waits by the real clock")]
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    eventually(what, || is_so().then_some(()));
    assert!(began.elapsed() < Duration::from_secs(1), "{what}: it took {:?}", began.elapsed());
}

#[test]
fn people_sign_in_by_form_and_by_json() {
    let gateway = Gateway::start();
    let form =
        format!("grant_type=password&username=admin&password={}", PASSWORD.replace(' ', "+"));
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let email = json!({"email": "ADMIN", "password": PASSWORD}).to_string();

    let flat = ask(&gateway, "POST", "/auth/login", &kind, Some(&form)).json();
    let wrapped = ask(&gateway, "POST", "/api/auth/login", &[], Some(&email)).json();

    for said in [&flat, &wrapped["data"]] {
        assert_eq!(said["token_type"], "Bearer");
        assert_eq!(said["expires_in"], 600);
        assert_eq!(said["user"]["username"], "admin");
        assert_eq!(profile(&gateway, access_token(said)), 200);
    }
    assert_eq!(wrapped["success"], true);
    let called = ask(
        &gateway,
        "POST",
        "/rpc",
        &[("Authorization", &bearer(access_token(&flat)))],
        Some(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#),
    );
    assert_eq!(called.status, 200, "{}", called.text());
    assert!(!flat.to_string().contains("argon2"));
}

#[test]
fn what_is_no_sign_in_is_refused_and_says_little() {
    let gateway = Gateway::start();
    let cases = [
        (json!({"username": "admin", "password": "wrong wrong wrong"}), 401),
        (json!({"username": "nobody", "password": PASSWORD}), 401),
        (json!({"username": "admin", "password": "admin"}), 401),
        (json!({"username": "admin"}), 422),
        (json!({"password": PASSWORD}), 422),
        (json!({"username": "admin", "email": "admin", "password": PASSWORD}), 422),
        (json!({"username": "admin", "password": PASSWORD, "role": "admin"}), 422),
        (json!({"username": "admin", "password": "x".repeat(1_025)}), 400),
    ];
    for (body, status) in cases {
        let said = ask(&gateway, "POST", "/auth/login", &[], Some(&body.to_string()));
        assert_eq!(said.status, status, "{body}: {}", said.text());
        assert!(!said.text().contains(PASSWORD));
    }
    let texts = ["wrong wrong wrong", PASSWORD].map(|password| {
        let name = if password == PASSWORD { "nobody" } else { "admin" };
        let body = json!({"username": name, "password": password}).to_string();
        let said = ask(&gateway, "POST", "/auth/login", &[], Some(&body)).json();
        (said["detail"].clone(), said["error"]["code"].clone())
    });
    assert_eq!(texts[0], texts[1]);
    assert_eq!(texts[0].0, "Invalid username or password");
    let large = json!({"username": "admin", "password": "x".repeat(1 << 20)}).to_string();
    assert_eq!(ask(&gateway, "POST", "/auth/login", &[], Some(&large)).status, 413);
    assert!(!gateway.log().contains(PASSWORD));
}

#[test]
fn guessing_is_slowed_down_whatever_addresses_are_claimed() {
    let gateway = Gateway::start();
    let body = json!({"username": "admin", "password": "wrong wrong wrong"}).to_string();

    let said: Vec<Answer> = (0..12)
        .map(|n| {
            let claimed = format!("198.51.100.{n}");
            let headers = [("X-Forwarded-For", &*claimed)];
            ask(&gateway, "POST", "/auth/login", &headers, Some(&body))
        })
        .collect();

    let statuses: Vec<u16> = said.iter().map(|said| said.status).collect();
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10..], [429; 2]);
    let wait: u64 = said[10].headers["retry-after"].parse().expect("seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    // Who is signed in already, or has a key, goes on.
    assert_eq!(gateway.ask("GET", "/auth/profile", None).status, 200);
}

#[test]
fn tokens_that_are_not_ours_open_nothing() {
    let (gateway, other) = (Gateway::start(), Gateway::start());
    let signed_in = log_in(&gateway);
    let token = access_token(&signed_in);
    let theirs = log_in(&other);
    let parts: Vec<&str> = token.split('.').collect();
    let [head, payload, signature] = parts[..] else { panic!("three parts") };
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";

    for bad in [
        access_token(&theirs).to_owned(),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{head}.{payload}."),
        format!("{head}.{payload}x.{signature}"),
        format!("{head}.{payload}=.{signature}"),
        format!("{token}.x"),
        format!("{token},{token}"),
        format!(" {token}"),
        token.replace('.', " "),
    ] {
        for path in ["/auth/profile", "/rpc/introspection", "/metrics"] {
            let headers = [("Authorization", &*bearer(&bad))];
            assert_eq!(ask(&gateway, "GET", path, &headers, None).status, 401, "{bad}");
        }
    }
    let status =
        |headers: &[(&str, &str)], path: &str| ask(&gateway, "GET", path, headers, None).status;
    let good = bearer(token);
    assert_eq!(
        status(&[("Authorization", &good.replace("Bearer", "bEARER"))], "/auth/profile"),
        200
    );
    assert_eq!(status(&[("Authorization", &good), ("Authorization", &good)], "/auth/profile"), 400);
    assert_eq!(
        status(&[("Authorization", &good), ("X-API-Key", &gateway.key)], "/auth/profile"),
        401
    );
    for query in ["access_token", "api_key", "token"] {
        assert_eq!(status(&[], &format!("/auth/profile?{query}={token}")), 401);
    }
    let long = format!("{head}.{payload}.{}", "A".repeat(64 << 10));
    assert!(
        [400, 401, 431].contains(&status(&[("Authorization", &bearer(&long))], "/auth/profile"))
    );
    assert!(!gateway.log().contains(signature));
}

#[test]
fn tokens_outlive_a_new_signing_key_and_a_restart() {
    let mut gateway = Gateway::start();
    let before = log_in(&gateway);

    gateway.done(&["key", "rotate-signing"]);
    assert_eq!(profile(&gateway, access_token(&before)), 200);
    let after = log_in(&gateway);
    gateway.signal("-TERM");
    gateway.wait();
    gateway.run(&[]);

    assert_eq!(profile(&gateway, access_token(&before)), 200);
    assert_eq!(profile(&gateway, access_token(&after)), 200);
    let head = |token: &str| token.split('.').next().map(str::to_owned);
    assert_ne!(head(access_token(&before)), head(access_token(&after)));
    let store = std::fs::read(format!("{}/state.redb", gateway.data())).expect("a store");
    let refresh = after["refresh_token"].as_str().expect("a token").as_bytes();
    assert!(!store.windows(refresh.len()).any(|part| part == refresh));
}

#[test]
fn a_refresh_token_gives_new_tokens_and_signing_out_ends_all() {
    let gateway = Gateway::start();
    let first = log_in(&gateway);
    let refresh = |token: &Value| {
        let body = json!({"refresh_token": token}).to_string();
        ask(&gateway, "POST", "/auth/refresh", &[], Some(&body))
    };

    let second = refresh(&first["refresh_token"]).json();
    assert_eq!(profile(&gateway, access_token(&second)), 200);
    let head = [("Authorization", &*bearer(access_token(&second)))];
    assert_eq!(ask(&gateway, "POST", "/auth/logout", &head, None).status, 200);

    assert_eq!(profile(&gateway, access_token(&second)), 401);
    assert_eq!(profile(&gateway, access_token(&first)), 401);
    assert_eq!(refresh(&second["refresh_token"]).status, 401);
    assert_eq!(refresh(&json!("thr_nonsense")).status, 401);
    assert_eq!(gateway.ask("POST", "/auth/logout", None).status, 400, "a key is no sign-in");
}

#[test]
fn people_change_themselves_but_not_their_role() {
    let gateway = Gateway::start();
    let (own, other) = (log_in(&gateway), log_in(&gateway));
    let head = [("Authorization", &*bearer(access_token(&own)))];
    let put = |body: &str| ask(&gateway, "PUT", "/auth/profile", &head, Some(body));

    assert_eq!(put(r#"{"username":"root"}"#).json()["username"], "root");
    let said = put(r#"{"email":"root@example.com","full_name":"Root"}"#).json();
    assert_eq!(
        (&said["username"], &said["email"], &said["name"], &said["is_superuser"]),
        (&json!("root"), &json!("root@example.com"), &json!("Root"), &json!(true))
    );
    for body in
        [r#"{"role":"admin"}"#, r#"{"id":"x"}"#, r#"{"is_active":true}"#, r#"{"email":"root"}"#]
    {
        assert_eq!(put(body).status, 422, "{body}");
    }
    assert_eq!(put(r#"{"username":"a\u0000b"}"#).status, 422);
    let change = |body: &Value| {
        ask(&gateway, "POST", "/auth/password", &head, Some(&body.to_string())).status
    };
    assert_eq!(change(&json!({"new_password": OTHER})), 403);
    assert_eq!(change(&json!({"current_password": "wrong", "new_password": OTHER})), 403);
    for weak in ["1234567", "password", "default2026", "passwordpassword1"] {
        assert_eq!(change(&json!({"current_password": PASSWORD, "new_password": weak})), 422);
    }
    assert_eq!(change(&json!({"current_password": PASSWORD, "new_password": OTHER})), 200);

    assert_eq!(profile(&gateway, access_token(&own)), 200);
    assert_eq!(profile(&gateway, access_token(&other)), 401);
    let long = format!("{}a", "五 ".repeat(40));
    assert_eq!(change(&json!({"current_password": OTHER, "new_password": long})), 200);
    let altered = json!({"username": "root", "password": format!("{}b", "五 ".repeat(40))});
    assert_eq!(ask(&gateway, "POST", "/auth/login", &[], Some(&altered.to_string())).status, 401);
}

#[test]
fn a_page_is_signed_in_by_a_cookie_that_no_other_page_can_use() {
    let gateway = Gateway::start();
    let body = json!({"username": "admin", "password": PASSWORD, "cookie": true}).to_string();
    let here = ("Sec-Fetch-Site", "same-origin");
    let foreign =
        ask(&gateway, "POST", "/auth/login", &[("Sec-Fetch-Site", "same-site")], Some(&body));
    assert_eq!(foreign.status, 403);

    let preset = ("Cookie", "tollhouse=ths_mine");
    let said = ask(&gateway, "POST", "/auth/login", &[here, preset], Some(&body));
    let set = said.headers["set-cookie"].clone();
    let (cookie, attributes) = set.split_once(';').expect("attributes");
    let csrf = said.json()["csrf_token"].as_str().expect("a token").to_owned();

    assert!(attributes.contains("HttpOnly") && attributes.contains("SameSite=Strict"), "{set}");
    assert!(attributes.contains("Path=/") && !attributes.contains("Secure"), "{set}");
    assert!(said.json()["access_token"].is_null() && !said.text().contains("ths_"));
    let head = ("Cookie", cookie);
    let shown = ask(&gateway, "GET", "/auth/profile", &[head], None);
    assert_eq!((shown.status, &shown.json()["csrf_token"]), (200, &json!(csrf)));
    let make = |headers: &[(&str, &str)], kind: &str| {
        let headers = [headers, &[head, ("Content-Type", kind)]].concat();
        ask(&gateway, "POST", "/auth/api-keys", &headers, Some(r#"{"name":"x"}"#)).status
    };
    let proof = ("X-CSRF-Token", &*csrf);
    assert_eq!(make(&[here, proof], "application/json"), 201);
    assert_eq!(make(&[here, proof], "text/plain"), 415);
    assert_eq!(make(&[proof], "application/json"), 403);
    assert_eq!(make(&[here], "application/json"), 403);
    assert_eq!(make(&[here, ("X-CSRF-Token", "x")], "application/json"), 403);
    assert_eq!(make(&[("Sec-Fetch-Site", "cross-site"), proof], "application/json"), 403);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(ask(&gateway, "POST", "/rpc", &[head, here, proof], Some(list)).status, 200);
    assert_eq!(ask(&gateway, "POST", "/rpc", &[head, here], Some(list)).status, 403);
    assert_eq!(Socket::open_with(&gateway, "/ws", &[("Cookie", cookie)]).err(), Some(401));
    let out = ask(&gateway, "POST", "/auth/logout", &[head, here, proof], None);
    assert!(out.headers["set-cookie"].contains("Max-Age=0"), "{:?}", out.headers);
    assert_eq!(ask(&gateway, "GET", "/auth/profile", &[head], None).status, 401);
}

#[test]
fn basic_works_where_it_is_turned_on() {
    let basic = [("Authorization", "Basic YWRtaW46Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSA5")];
    let off = Gateway::start();
    assert_eq!(ask(&off, "GET", "/auth/profile", &basic, None).status, 401);

    let on = Gateway::start_with(&[], "access:\n  basic: true\n");
    assert_eq!(ask(&on, "GET", "/auth/profile", &basic, None).status, 200);
    let wrong = [("Authorization", "Basic YWRtaW46YWRtaW4=")];
    assert_eq!(ask(&on, "GET", "/auth/profile", &wrong, None).status, 401);
}

#[test]
fn a_secret_shared_by_setting_signs_the_tokens() {
    let secret = "0123456789abcdef0123456789abcdef";
    let set = [("GATEWAY_SECRET_KEY", secret), ("GATEWAY_ACCESS_TOKEN_EXPIRE_MINUTES", "60")];
    let gateway = Gateway::start_with(&set, "");

    let signed_in = log_in(&gateway);

    assert!(access_token(&signed_in).starts_with("eyJhbGciOiJIUzI1NiI"));
    assert_eq!(signed_in["expires_in"], 3_600);
    assert_eq!(profile(&gateway, access_token(&signed_in)), 200);
}

/// A stream of events that stands open.
struct Stream(TcpStream);

impl Stream {
    fn open(gateway: &Gateway, verb: &str, headers: &[(&str, &str)], body: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(&gateway.address).expect("the gateway listens");
        let event = ("Accept", "text/event-stream, application/json");
        let all = [headers, &[event, ("Content-Type", "application/json")]].concat();
        let bytes = request(verb, "/mcp", &gateway.address, &all, body);
        stream.write_all(&bytes).expect("it reads");
        stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a socket");
        let mut stream = Self(stream);
        let mut said = String::new();
        eventually("the stream opens", || {
            said += &stream.hear()?;
            said.contains("text/event-stream").then_some(())
        });
        stream
    }

    fn modern(gateway: &Gateway, token: &str) -> Self {
        let listen = "subscriptions/listen";
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{listen}","params":{{"notifications":{{"toolsListChanged":true}},"_meta":{}}}}}"#,
            gateway_meta()
        );
        let bearer = bearer(token);
        let headers = [
            ("Authorization", &*bearer),
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", listen),
        ];
        Self::open(gateway, "POST", &headers, Some(&body))
    }

    fn legacy(session: &LegacySession<'_>, gateway: &Gateway, token: &str) -> Self {
        let bearer = bearer(token);
        let headers = [
            ("Authorization", &*bearer),
            ("Mcp-Session-Id", &*session.id),
            ("MCP-Protocol-Version", "2025-06-18"),
        ];
        Self::open(gateway, "GET", &headers, None)
    }

    /// What was said; none where there is nothing now.
    fn hear(&mut self) -> Option<String> {
        let mut piece = [0; 4_096];
        let count = self.0.read(&mut piece).ok()?;
        Some(String::from_utf8_lossy(&piece[..count]).into_owned())
    }

    /// Whether it has ended, as chunked bodies end.
    fn has_ended(&mut self) -> bool {
        self.hear().is_some_and(|said| said.is_empty() || said.ends_with("0\r\n\r\n"))
    }
}

/// What stands open by one credential: streams of both eras, and a `WebSocket`.
struct Open {
    modern: Stream,
    legacy: Stream,
    session: String,
    socket: Socket,
}

fn open(gateway: &Gateway, token: &str) -> Open {
    let by = gateway.with_key(token);
    let session = legacy_session(&by, "/mcp");
    let modern = Stream::modern(gateway, token);
    let legacy = Stream::legacy(&session, gateway, token);
    let mut socket = Socket::open(&by, "/ws");
    socket.initialize();
    socket.say(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    socket.hear();
    Open { modern, legacy, session: session.id.clone(), socket }
}

fn all_end(gateway: &Gateway, mut open: Open) {
    soon("the stream of today's revision ends", || open.modern.has_ended());
    soon("the stream of an older revision ends", || open.legacy.has_ended());
    let (code, _) = open.socket.rest();
    assert_eq!(code, Some(1_008));
    let path = format!("/api/admin/sessions/{}", open.session);
    soon("the session ends", || {
        gateway.ask("GET", &path, None).json()["data"]["status"] == "error"
    });
}

#[test]
fn what_a_key_opened_ends_with_it() {
    let gateway = Gateway::start();
    let made = gateway.done(&["key", "create", "laptop", "-o", "json"]);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let open = open(&gateway, made["key"].as_str().expect("a key"));

    let id = made["id"].as_str().expect("an id");
    assert_eq!(gateway.ask("DELETE", &format!("/auth/api-keys/{id}"), None).status, 200);

    all_end(&gateway, open);
}

#[test]
fn what_a_sign_in_opened_ends_when_it_does() {
    let gateway = Gateway::start();
    let signed_in = log_in(&gateway);
    let (own, other) = (access_token(&signed_in), log_in(&gateway));
    let (mine, mut others) = (open(&gateway, own), open(&gateway, access_token(&other)));

    let head = [("Authorization", &*bearer(own))];
    assert_eq!(ask(&gateway, "POST", "/auth/logout", &head, None).status, 200);
    all_end(&gateway, mine);

    assert!(!others.modern.has_ended() && !others.legacy.has_ended());
    let third = log_in(&gateway);
    let head = [("Authorization", &*bearer(access_token(&third)))];
    let body = json!({"current_password": PASSWORD, "new_password": OTHER}).to_string();
    assert_eq!(ask(&gateway, "POST", "/auth/password", &head, Some(&body)).status, 200);
    all_end(&gateway, others);
}
