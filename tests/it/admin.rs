//! The office: requests, envelopes and refusals.

use crate::support::Gateway;

#[test]
fn a_server_is_registered_shown_and_retired() {
    let gateway = Gateway::start();
    let form = r#"{"name":"a","url":"http://127.0.0.1:9/mcp","headers":{"X-Token":"canary"}}"#;

    let made = gateway.ask("POST", "/gateway/servers", Some(form));
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(!made.text().contains("canary"));
    let again = gateway.ask("POST", "/gateway/servers", Some(form));
    assert_eq!((again.status, &again.json()["error"]["code"]), (409, &"CONFLICT".into()));
    let listed = gateway.ask("GET", "/servers", None).json();
    assert_eq!((&listed["count"], &listed["data"][0]["name"]), (&1.into(), &"a".into()));
    let id = listed["data"][0]["id"].as_str().expect("an id");
    assert_eq!(gateway.ask("GET", &format!("/gateway/servers/{id}"), None).status, 200);

    assert_eq!(gateway.ask("DELETE", "/gateway/servers/a", None).status, 200);
    assert_eq!(gateway.ask("GET", "/gateway/servers/a", None).status, 404);
    assert_eq!(gateway.ask("DELETE", "/gateway/servers/a", None).status, 404);
}

#[test]
fn bad_bodies_are_told_what_is_wrong() {
    let gateway = Gateway::start();
    let status = |body: &str| gateway.ask("POST", "/gateway/servers", Some(body)).status;

    assert_eq!(status("{nope"), 400);
    assert_eq!(status(r#"{"name":"a"}"#), 422);
    assert_eq!(status(r#"{"name":"A B","url":"http://x/"}"#), 422);
    assert_eq!(status(r#"{"name":"a","url":"http://x/","is_admin":true}"#), 422);
    assert_eq!(status(r#"{"name":"a","url":"http://169.254.169.254/"}"#), 422);
    let said = gateway.ask("POST", "/gateway/servers", Some(r#"{"name":"a","url":"ftp://x/"}"#));
    let error = &said.json()["error"];
    assert!(error["message"].as_str().expect("text").contains("ftp"), "{}", said.text());
    assert_eq!(error["request_id"].as_str(), said.headers.get("x-request-id").map(|id| &**id));
}

#[test]
fn other_methods_change_nothing() {
    let gateway = Gateway::start();

    for verb in ["PUT", "PATCH", "OPTIONS"] {
        assert_eq!(gateway.ask(verb, "/gateway/servers", Some("{}")).status, 405, "{verb}");
    }
    let named = [("X-HTTP-Method-Override", "DELETE")];
    assert_eq!(gateway.ask_with("GET", "/gateway/servers", &named, None).status, 200);
}

#[test]
fn many_who_register_at_once_all_find_their_server() {
    let gateway = Gateway::start();

    std::thread::scope(|scope| {
        for worker in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                for turn in 0..10 {
                    let form =
                        format!(r#"{{"name":"w{worker}-{turn}","url":"http://127.0.0.1:9/mcp"}}"#);
                    let made = gateway.ask("POST", "/gateway/servers", Some(&form));
                    assert_eq!(made.status, 201, "{}", made.text());
                }
            });
        }
    });

    assert_eq!(gateway.ask("GET", "/gateway/servers", None).json()["count"], 80);
}
