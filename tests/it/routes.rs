//! Routes: plain HTTP through the gateway, under the same checks and limits as calls.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::mpsc,
};

use serde_json::{Value, json};

use crate::support::{Act, Answer, FakeServer, Gateway, Seen, eventually, request};

const ROUTES: &str = "/api/admin/routes";
const TOOL: &str = r#"{"name":"look","inputSchema":{"type":"object"}}"#;
const DONE: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;

/// A service that says how it was asked, and other things at other paths.
fn service() -> FakeServer {
    FakeServer::play(|seen| match path_of(seen) {
        path if path.ends_with("/big") => {
            Act::Json(r#"{"data":{"total":12345678901234567890123,"items":[1,2]},"x":0}"#.into())
        }
        path if path.ends_with("/secret") => {
            Act::Json(r#"{"name":"ana","iban":"AT611904300234573201"}"#.into())
        }
        path if path.ends_with("/teapot") => Act::Bytes(
            "HTTP/1.1 418 I'm a teapot\r\nset-cookie: __Host-tollhouse=evil\r\nx-kind: pot\r\n\
             content-security-policy: default-src *\r\ncontent-type: text/html\r\n\
             content-length: 4\r\n\r\nshrt"
                .into(),
        ),
        path => Act::Json(json!({"path": path, "body": seen.body}).to_string()),
    })
}

fn path_of(seen: &Seen) -> &str {
    seen.head.split(' ').nth(1).unwrap_or_default()
}

fn house(config: &str) -> (Gateway, FakeServer) {
    let (gateway, service) = (Gateway::start_with(&[], config), service());
    register(&gateway, "shop", &service, &json!({}));
    (gateway, service)
}

/// Registers a service that is no MCP server. Its URL ends with `/mcp`, as that of every fake.
fn register(gateway: &Gateway, name: &str, service: &FakeServer, more: &Value) {
    let mut form = json!({"name": name, "url": service.url, "transport": "plain"});
    form.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = gateway.ask("POST", "/gateway/servers?wait=true", Some(&form.to_string()));
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(made["data"]["health"], "healthy", "{made}");
    assert_eq!(made["data"]["transport"], "plain");
}

fn route(gateway: &Gateway, form: &Value) {
    let made = gateway.ask("POST", ROUTES, Some(&form.to_string()));
    assert_eq!(made.status, 201, "{}", made.text());
}

fn last(service: &FakeServer) -> Seen {
    service.seen().pop().expect("it was asked")
}

fn code(said: &Answer) -> Value {
    said.json()["error"]["code"].clone()
}

#[test]
fn a_request_goes_on_as_it_is_without_what_is_only_for_the_gateway() {
    let (gateway, service) = house("");
    gateway.done(&["server", "update", "shop", "--max-in-flight", "5"]);
    let auth = json!({"type": "bearer", "token": "the-services-own"}).to_string();
    assert_eq!(gateway.ask("PUT", "/gateway/servers/shop/auth", Some(&auth)).status, 200);
    route(&gateway, &json!({"name": "buy", "server": "shop", "mount": "/store"}));

    let headers = [("Accept-Language", "de"), ("Cookie", "a=b"), ("X-Request-Id", "r-1")];
    let said = gateway.ask_with("POST", "/proxy/buy/v1/a%20b?x=1&y=%2F", &headers, Some("[1,  2]"));

    assert_eq!(said.status, 200, "{}", said.text());
    assert_eq!(said.json()["path"], "/mcp/v1/a%20b?x=1&y=%2F");
    assert_eq!(said.json()["body"], "[1,  2]", "a body is carried as it was written");
    let seen = last(&service);
    let shown = ["authorization", "accept-language", "cookie", "x-request-id", "via"];
    let shown = shown.map(|name| seen.header(name).to_owned());
    assert_eq!(shown, ["Bearer the-services-own", "de", "", "r-1", "1.1 tollhouse"]);
    assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
    assert!(seen.header("x-forwarded-host").starts_with("127.0.0.1:"));
    assert!(service.url.contains(seen.header("host")));
    assert_eq!(gateway.ask("GET", "/store/v1", None).json()["path"], "/mcp/v1");
    assert_eq!(gateway.ask("GET", "/proxy/buy", None).json()["path"], "/mcp/");

    // What comes back is the service's, but for what would make it act as the gateway's page.
    let said = gateway.ask("GET", "/proxy/buy/teapot", None);
    assert_eq!((said.status, said.text(), said.headers["x-kind"].as_str()), (418, "shrt", "pot"));
    assert!(!said.headers.contains_key("set-cookie"));
    assert!(said.headers["content-security-policy"].starts_with("sandbox"));
    assert_eq!(said.headers["x-content-type-options"], "nosniff");
    eventually("its line is written", || {
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("\"http_method\":\"POST\""))?;
        assert!(line.contains(r#""endpoint":"/proxy/buy""#), "{line}");
        assert!(line.contains(r#""path":"/v1/a%20b""#), "{line}");
        Some(())
    });
}

#[test]
fn the_first_rule_that_fits_decides() {
    let (gateway, _shop) = house("edge: {allowed_hosts: [shop.example.com]}\n");
    let canary = service();
    register(&gateway, "canary", &canary, &json!({}));
    route(
        &gateway,
        &json!({"name": "buy", "rules": [
            {"match": {"headers": {"x-canary": "1"}}, "server": "canary"},
            {"match": {"hosts": ["*.example.com"]}, "server": "canary"},
            {"match": {"paths": ["/v1"], "methods": ["GET"]}, "server": "shop",
             "request": {"path": {"from": "/v1", "to": "/api/v2"},
                         "headers": {"set": {"X-Api": "2"}, "remove": ["Accept-Language"]}},
             "response": {"headers": {"set": {"X-Via": "gate"}, "remove": ["content-type"]}}},
            {"match": {"paths": ["/big"]}, "server": "shop",
             "response": {"json": {"count": "/data/total", "first": "/data/items/0"}}},
            {"match": {"methods": ["PUT"]}, "server": "shop", "request": {"json": "/a/b"}},
        ]}),
    );
    let asked = || canary.seen().len();
    let before = asked();
    gateway.ask_with("GET", "/proxy/buy/x", &[("X-Canary", "1")], None);
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [("Authorization", bearer.as_str())];
    gateway.send(&request("GET", "/proxy/buy/x", "shop.example.com", &headers, None));
    assert_eq!(asked(), before + 2);

    let said = gateway.ask_with("GET", "/proxy/buy/v1/x?q", &[("Accept-Language", "de")], None);
    assert_eq!(said.json()["path"], "/mcp/api/v2/x?q");
    assert_eq!(said.headers["x-via"], "gate");
    assert!(!said.headers.contains_key("content-type"));
    let said = gateway.ask("GET", "/proxy/buy/big", None);
    assert_eq!(said.text(), r#"{"count":12345678901234567890123,"first":1}"#);
    let said = gateway.ask("PUT", "/proxy/buy/y", Some(r#"{"a":{"b":[1.0]}}"#));
    assert_eq!(said.json()["body"], "[1.0]");
    let said = gateway.ask("PUT", "/proxy/buy/y", Some("[]"));
    assert_eq!((said.status, code(&said)), (400, json!("VALIDATION_FAILED")), "{}", said.text());

    // No rule, no route, ways around: nothing is there.
    for path in [
        "/proxy/buy/v1x",
        "/proxy/other",
        "/proxy/",
        "/proxy/buy/v1/%2e%2e/admin",
        "/proxy/buy//v1",
    ] {
        let said = gateway.ask("GET", path, None);
        assert_eq!((said.status, code(&said)), (404, json!("NOT_FOUND")), "{path}");
    }
    let test = |words: &[&str]| {
        let said = gateway.cli(&[&["route", "test"], words].concat());
        String::from_utf8(said.stdout).unwrap()
    };
    assert_eq!(test(&["/proxy/buy/v1/x?q"]), "shop, asked for /api/v2/x?q (rule 2 of buy)\n");
    assert!(
        test(&["/proxy/buy/v1", "--header", "x-canary=1"]).starts_with("canary, asked for /v1")
    );
    assert_eq!(test(&["/proxy/buy/z"]), "");
}

#[test]
fn who_may_and_how_often_is_asked_as_for_calls() {
    let (gateway, service) = house("");
    route(&gateway, &json!({"name": "buy", "server": "shop"}));
    let (_, ana) = gateway.make_key("", &json!({"name": "ana", "role": "user"}));
    let (_, viewer) = gateway.make_key("", &json!({"name": "vic", "role": "viewer"}));
    let other = gateway.make_tenant(&json!({"slug": "umbra"}));
    let ask = |key: Option<&str>, verb: &str, path: &str| gateway.ask_as(key, verb, path, None);
    let before = service.seen().len();

    // Strangers, those who may call nothing, and others' people.
    assert_eq!(ask(None, "GET", "/proxy/buy/x").status, 401);
    let told = |said: Answer| (said.status, said.json()["error"]["message"].clone());
    let nothing = told(ask(Some(&other), "GET", "/proxy/none/x"));
    assert_eq!(nothing.0, 404);
    assert_eq!(told(ask(Some(&other), "GET", "/proxy/buy/x")), nothing);
    assert_eq!(told(ask(Some(&viewer), "GET", "/proxy/buy/x")), nothing);
    assert_eq!(service.seen().len(), before, "the service hears nothing of it");
    assert_eq!(ask(Some(&ana), "GET", "/proxy/buy/x").status, 200);

    // Policies read what HTTP says of a method, and the path.
    for policy in [
        json!({"name": "no deletes", "conditions": {"tool.annotations.destructiveHint": true}, "actions": {"effect": "deny"}}),
        json!({"name": "no admin", "conditions": {"arguments.path": "/admin", "endpoint": "/proxy/buy", "method": "http/request"}, "actions": {"effect": "deny"}}),
        json!({"name": "hide", "conditions": {}, "actions": {"effect": "redact", "remove": ["iban"]}}),
    ] {
        let made = gateway.ask("POST", "/policies", Some(&policy.to_string()));
        assert_eq!(made.status, 201, "{}", made.text());
    }
    assert_eq!(told(ask(Some(&ana), "DELETE", "/proxy/buy/x")), nothing);
    assert_eq!(told(ask(Some(&ana), "GET", "/proxy/buy/%61dmin")), nothing);
    let said = ask(Some(&ana), "GET", "/proxy/buy/secret");
    assert!(said.text().contains("ana") && !said.text().contains("AT61"), "{}", said.text());
    let said = ask(Some(&ana), "GET", "/proxy/buy/teapot");
    assert_eq!(said.status, 502, "what cannot be looked through is kept back: {}", said.text());

    let limit = json!({"name": "twice", "scope": "key+tool", "limit": 2, "window": "1h", "match": {"tool": "buy"}});
    assert_eq!(gateway.ask("POST", "/api/admin/rate-limits", Some(&limit.to_string())).status, 201);
    let (_, ben) = gateway.make_key("", &json!({"name": "ben", "role": "user"}));
    let said: Vec<_> = (0..3).map(|_| ask(Some(&ben), "GET", "/proxy/buy/x")).collect();
    assert_eq!(said.iter().map(|it| it.status).collect::<Vec<_>>(), [200, 200, 429]);
    assert!(said[2].headers.contains_key("retry-after"));
    assert_eq!(said[0].headers["x-ratelimit-remaining"], "1");
}

#[test]
fn what_fails_is_tried_elsewhere_where_that_is_safe() {
    let gateway = Gateway::start_with(&[], "pipeline: {timeout_seconds: 2}\n");
    let ill = FakeServer::play(|seen| match path_of(seen) {
        "/mcp" => Act::Json("{}".into()),
        path if path.ends_with("/hang") => Act::Hang,
        path if path.ends_with("/drop") => Act::Close,
        _ => Act::Status(503, "{\"ill\":true}".into()),
    });
    let well = service();
    register(&gateway, "shop", &ill, &json!({}));
    route(&gateway, &json!({"name": "buy", "server": "shop"}));

    let alone = gateway.ask("GET", "/proxy/buy/x", None);
    assert_eq!((alone.status, alone.text()), (503, "{\"ill\":true}"), "it speaks for itself");
    assert_eq!(gateway.ask("POST", "/proxy/buy/drop", Some("{}")).status, 502);
    let slow = gateway.ask("GET", "/proxy/buy/hang", None);
    assert_eq!((slow.status, code(&slow)), (504, json!("TIMEOUT")), "{}", slow.text());

    let form = json!({"url": well.url, "transport": "plain"}).to_string();
    let path = "/gateway/servers/shop/instances";
    assert_eq!(gateway.ask("POST", path, Some(&form)).status, 201);
    let mixed = json!({"url": well.url}).to_string();
    assert_eq!(gateway.ask("POST", path, Some(&mixed)).status, 422);
    for path in ["/x", "/drop", "/hang"] {
        for _ in 0..4 {
            let said = gateway.ask("GET", &format!("/proxy/buy{path}"), None);
            assert_eq!(said.status, 200, "{path}: {}", said.text());
        }
    }
}

#[test]
fn what_a_service_says_bit_by_bit_comes_bit_by_bit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (go_on, told) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> =
                lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let chunk = |stream: &mut std::net::TcpStream, text: &str| {
                write!(stream, "{:x}\r\n{text}\r\n", text.len()).unwrap();
            };
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
            chunk(&mut stream, "data: one\n\n");
            if head[0].contains("/events") {
                told.recv().unwrap();
                chunk(&mut stream, "data: two\n\n");
            }
            chunk(&mut stream, "");
        }
    });
    let gateway = Gateway::start();
    let form = json!({"name": "feed", "url": url, "transport": "plain"}).to_string();
    assert_eq!(gateway.ask("POST", "/gateway/servers", Some(&form)).status, 201);
    route(&gateway, &json!({"name": "feed", "server": "feed"}));
    let key = gateway.key.clone();

    let mut connection = gateway.connect();
    let ask = format!(
        "GET /proxy/feed/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\n\r\n",
        gateway.address
    );
    connection.send(ask.as_bytes());
    let first = connection.until("data: one");
    assert!(!first.contains("data: two"), "{first}");
    go_on.send(()).unwrap();
    connection.until("data: two");
}

#[test]
fn servers_that_speak_mcp_have_their_endpoint_where_a_route_says() {
    let gateway = Gateway::start();
    let server = FakeServer::modern(TOOL, DONE);
    let form = json!({"name": "wiki", "url": server.url}).to_string();
    assert_eq!(gateway.ask("POST", "/gateway/servers?wait=true", Some(&form)).status, 201);
    route(&gateway, &json!({"name": "read", "server": "wiki", "mount": "/team/wiki"}));

    for path in ["/proxy/read", "/team/wiki", "/team/wiki/"] {
        let said = gateway.call_named(path, "tools/call", Some("look"), r#""name":"look""#);
        assert_eq!(said.json()["result"]["content"][0]["text"], "done", "{path}: {}", said.text());
    }
    assert_eq!(gateway.ask("GET", "/team/wiki/x", None).status, 404);
    let changed = json!({"name": "other", "rules": [
        {"server": "wiki", "request": {"headers": {"set": {"x-a": "b"}}}},
    ]});
    let said = gateway.ask("POST", ROUTES, Some(&changed.to_string()));
    assert_eq!(said.status, 422, "{}", said.text());
    assert!(said.text().contains("wiki speaks MCP, which is carried as it is"), "{}", said.text());
    // And the other way round: what speaks no MCP has no endpoint.
    register(&gateway, "shop", &service(), &json!({}));
    assert_eq!(gateway.call("/servers/shop/mcp", "tools/list", "").status, 404);
}

#[test]
fn routes_are_kept_in_the_store_and_in_the_file() {
    let config = "edge: {body_bytes: 1000}\nregistry:\n  routes:\n    - {name: buy, server: shop, mount: /store}\n";
    let (mut gateway, service) = house(config);
    assert_eq!(gateway.ask("GET", "/store/x", None).status, 200);
    assert_eq!(gateway.ask("POST", "/store/x", Some(&"x".repeat(1_001))).status, 413);
    let refused = |form: Value| {
        let said = gateway.ask("POST", ROUTES, Some(&form.to_string()));
        (said.status, said.json()["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused(json!({"name": "buy", "server": "shop"})).0, 409);
    assert_eq!(refused(json!({"name": "more", "server": "shop", "mount": "/store"})).0, 409);
    let (status, message) = refused(json!({"name": "more", "server": "none"}));
    assert_eq!(
        (status, message.as_str()),
        (422, "the route is not right at /rules/0/server: there is no server \"none\"")
    );
    let said = gateway.ask("DELETE", &format!("{ROUTES}/file:buy"), None);
    assert_eq!(said.status, 409, "{}", said.text());

    gateway.done(&["register", "store", "--transport", "plain", "--endpoint", &service.url]);
    assert_eq!(gateway.done(&["route", "add", "more", "--to", "store", "-o", "name"]), "more\n");
    gateway.done(&["route", "update", "more", "--mount", "/more"]);
    gateway.signal("-TERM");
    assert!(gateway.wait().success());
    gateway.run(&[]);
    assert_eq!(gateway.ask("GET", "/more/x", None).status, 200);
    let listed = gateway.done(&["route", "list"]);
    assert!(listed.contains("/store") && listed.contains("/more"), "{listed}");
    gateway.done(&["route", "update", "more", "--off"]);
    assert_eq!(gateway.ask("GET", "/more/x", None).status, 404);
    gateway.done(&["route", "remove", "more"]);
    let audit = gateway.done(&["route", "list", "-o", "name"]);
    assert_eq!(audit, "buy\n");
}
