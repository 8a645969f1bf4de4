//! Clients that act for people: leave, codes, tokens, and what opens with them.

use serde_json::{Value, json};

use crate::support::{
    Answer, App, Browser, CHALLENGE, Gateway, PASSWORD, REDIRECT, access, field, form, opens,
    refresh,
};

/// A browser in which the administrator is signed in.
fn signed_in(gateway: &Gateway) -> Browser<'_> {
    Browser::signed_in(gateway, "admin")
}

fn error(said: &Answer) -> (u16, String) {
    (said.status, said.json()["error"].as_str().unwrap_or_default().to_owned())
}

/// Makes a call with a token.
fn call(gateway: &Gateway, token: &str, path: &str, method: &str) -> Answer {
    let by = gateway.with_key(token);
    match method {
        "tools/call" => {
            let params = r#""name":"tollhouse__current_time","arguments":{}"#;
            by.call_named(path, method, Some("tollhouse__current_time"), params)
        }
        _ => by.call(path, method, ""),
    }
}

#[test]
fn whoever_is_turned_away_finds_the_way_to_a_token() {
    let gateway = Gateway::start();
    let base = format!("http://{}", gateway.address);

    for path in ["/mcp", "/mcp/default", "/mcp/nobody", "/servers/nobody/mcp"] {
        let said = gateway.ask_as(None, "POST", path, Some("{}"));
        let place = format!("/.well-known/oauth-protected-resource{path}");
        let challenge = &said.headers["www-authenticate"];
        assert_eq!(said.status, 401);
        let expected = format!("resource_metadata=\"{base}{place}\", scope=\"mcp:read mcp:call\"");
        assert!(challenge.ends_with(&expected), "{challenge}");
        let told = gateway.ask_as(None, "GET", &place, None).json();
        let expected = json!({
            "resource": format!("{base}{path}"),
            "authorization_servers": [base],
            "scopes_supported": ["mcp:read", "mcp:call"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Tollhouse",
        });
        assert_eq!(told, expected);
    }
    let root = gateway.ask_as(None, "GET", "/.well-known/oauth-protected-resource", None);
    assert_eq!(root.json()["resource"], format!("{base}/mcp"));
    for none in ["rpc", "mcp/a/b", "auth/users", "mcp/%22"] {
        let path = format!("/.well-known/oauth-protected-resource/{none}");
        assert_eq!(gateway.ask_as(None, "GET", &path, None).status, 404, "{none}");
    }
    let shown = gateway.ask_as(Some("thk_live_x"), "POST", "/mcp", Some("{}"));
    assert!(shown.headers["www-authenticate"].contains("error=\"invalid_token\""));
    let told = gateway.ask_as(None, "GET", "/.well-known/oauth-authorization-server", None).json();
    assert_eq!(told["issuer"], base);
    assert_eq!(told["code_challenge_methods_supported"], json!(["S256"]));
    for name in ["authorization", "token", "registration", "revocation"] {
        let place = told[format!("{name}_endpoint")].as_str().expect("a URL");
        assert!(place.starts_with(&format!("{base}/oauth/")), "{place}");
    }
}

#[test]
fn a_public_url_is_what_clients_are_told() {
    let gateway = Gateway::start_with(&[], "public_url: https://tools.example.com/gate/\n");

    let said = gateway.ask_as(None, "POST", "/mcp", Some("{}"));

    let base = "https://tools.example.com/gate";
    let place = "https://tools.example.com/.well-known/oauth-protected-resource/gate/mcp";
    assert!(said.headers["www-authenticate"].contains(place));
    let path = "/.well-known/oauth-protected-resource/gate/mcp";
    let told = gateway.ask_as(None, "GET", path, None).json();
    assert_eq!(told["resource"], format!("{base}/mcp"));
    let path = "/.well-known/oauth-authorization-server/gate";
    assert_eq!(gateway.ask_as(None, "GET", path, None).json()["issuer"], base);
}

#[test]
fn where_it_is_switched_off_nothing_is_told_and_nothing_is_given() {
    let gateway = Gateway::start_with(&[], "access:\n  oauth:\n    enabled: false\n");

    let said = gateway.ask_as(None, "POST", "/mcp", Some("{}"));

    assert_eq!(said.headers["www-authenticate"], "Bearer realm=\"tollhouse\"");
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/oauth/authorize",
    ] {
        assert_eq!(gateway.ask_as(None, "GET", path, None).status, 404, "{path}");
    }
    for path in ["/oauth/authorize", "/oauth/token", "/oauth/register", "/oauth/revoke"] {
        assert_eq!(gateway.ask_as(None, "POST", path, Some("{}")).status, 404, "{path}");
    }
}

#[test]
fn a_person_signs_in_consents_and_the_client_calls_a_tool() {
    let gateway = Gateway::start();
    let app = App::register(&gateway, "<b>App\u{202E}</b>");
    let (mut browser, path) = (Browser::new(&gateway), app.path(&[]));

    let page = browser.get(&path);
    assert_eq!((page.status, &*page.headers["referrer-policy"]), (200, "same-origin"));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("form-action 'self' http://127.0.0.1:5173;"), "{policy}");
    assert!(policy.ends_with("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    let wrong = browser.sign_in(&path, "a\"><i>", "no such password at all");
    assert_eq!(wrong.status, 401);
    assert!(wrong.text().contains("Invalid username or password"));
    assert!(wrong.text().contains("value=\"a&quot;&gt;&lt;i&gt;\"") && browser.cookie.is_none());
    let right = browser.sign_in(&path, "admin", PASSWORD);
    assert_eq!(right.status, 303);
    assert_eq!(format!("/oauth/authorize{}", right.headers["location"]), path);
    let page = browser.get(&path);
    let text = page.text();
    for shown in [
        "&lt;b&gt;App&lt;/b&gt; wants to act for you",
        "nobody has checked it",
        &app.resource,
        "a program on your computer, <code>http://127.0.0.1:5173</code>",
        "call tools in your name",
        "<dd>admin</dd>",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("<script") && !text.contains("<b>"));
    let back = browser.decide(&path, "allow").headers["location"].clone();
    assert!(back.starts_with(&format!("{REDIRECT}?code=")));
    assert_eq!(field(&back, "state").as_deref(), Some("s&1"));
    let issuer = format!("http://{}", gateway.address);
    assert_eq!(field(&back, "iss"), Some(issuer));
    let tokens = app.exchange(&field(&back, "code").expect("a code"), &[]).json();

    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(600)));
    assert_eq!(tokens["scope"], "mcp:read mcp:call");
    let said = call(&gateway, access(&tokens), "/mcp", "tools/call");
    assert!(said.json()["result"]["content"].is_array(), "{}", said.text());
}

#[test]
fn a_token_opens_the_endpoint_it_was_made_for_and_nothing_else() {
    let gateway = Gateway::start();
    let mut app = App::register(&gateway, "App");
    let mut browser = signed_in(&gateway);
    let whole = app.tokens(&mut browser, &[]);
    app.resource += "/default";
    let part = app.tokens(&mut browser, &[]);

    for (token, own, other) in [(&whole, "/mcp", "/mcp/default"), (&part, "/mcp/default", "/mcp")] {
        let token = access(token);
        assert_eq!(call(&gateway, token, own, "tools/list").status, 200);
        for closed in [other, "/servers/nobody/mcp", "/rpc"] {
            assert_eq!(call(&gateway, token, closed, "tools/list").status, 401, "{closed}");
        }
        for closed in ["/auth/profile", "/auth/consents", "/servers", "/ws", "/sse"] {
            let status = gateway.ask_as(Some(token), "GET", closed, None).status;
            assert_eq!(status, 401, "{closed}");
        }
        // The same gateway by another name is another resource.
        let host = gateway.address.replace("127.0.0.1", "localhost");
        let (bearer, kind) = (format!("Bearer {token}"), "application/json");
        let headers = [("Authorization", &*bearer), ("Content-Type", kind)];
        let asked = crate::support::request("POST", own, &host, &headers, Some("{}"));
        assert_eq!(gateway.send(&asked).status, 401);
    }
    let login = json!({"username": "admin", "password": PASSWORD}).to_string();
    let own = gateway.ask_as(None, "POST", "/auth/login", Some(&login)).json();
    assert_eq!(opens(&gateway, access(&own)), 200, "a person's own token opens all as before");
}

#[test]
fn a_token_is_good_for_its_scopes_and_says_which_are_missing() {
    let gateway = Gateway::start();
    let app = App::register(&gateway, "App");
    let mut browser = signed_in(&gateway);
    let tokens = app.tokens(&mut browser, &[("scope", "mcp:read openid")]);
    assert_eq!(tokens["scope"], "mcp:read");

    let seen = call(&gateway, access(&tokens), "/mcp", "resources/list");
    let called = call(&gateway, access(&tokens), "/mcp", "tools/call");

    assert_eq!((seen.status, called.status), (200, 403), "{}", called.text());
    let challenge = &called.headers["www-authenticate"];
    let begins = "Bearer error=\"insufficient_scope\", scope=\"mcp:read mcp:call\"";
    assert!(challenge.starts_with(begins), "{challenge}");
    assert!(challenge.contains("resource_metadata="), "{challenge}");
    let more = app.tokens(&mut browser, &[("scope", "mcp:read mcp:call")]);
    assert_eq!(call(&gateway, access(&more), "/mcp", "tools/call").status, 200);
}

#[test]
fn a_client_may_never_do_more_than_its_person() {
    let gateway = Gateway::start();
    gateway.make_user("", "vera", "viewer");
    let app = App::register(&gateway, "App");
    let tokens = app.tokens(&mut Browser::signed_in(&gateway, "vera"), &[]);

    let called = call(&gateway, access(&tokens), "/mcp", "tools/call");
    assert!(called.json()["error"].is_object() && called.status != 403, "{}", called.text());
    assert_eq!(opens(&gateway, access(&tokens)), 200);
    let off = Some(r#"{"is_active":false}"#);
    assert_eq!(gateway.ask("PATCH", "/auth/users/vera", off).status, 200);
    assert_eq!(opens(&gateway, access(&tokens)), 401);
    assert_eq!(app.refresh(refresh(&tokens)).status, 400);
}

#[test]
fn a_policy_that_allows_more_than_a_role_does_allows_no_more_than_the_scopes() {
    let gateway = Gateway::start();
    gateway.make_user("", "vera", "viewer");
    let policy = json!({
        "name": "viewers-call", "conditions": {"role": "viewer"}, "actions": {"effect": "allow"},
    });
    assert_eq!(gateway.ask("POST", "/policies", Some(&policy.to_string())).status, 201);
    let app = App::register(&gateway, "App");
    let mut browser = Browser::signed_in(&gateway, "vera");

    let narrow = app.tokens(&mut browser, &[("scope", "mcp:read")]);
    let wide = app.tokens(&mut browser, &[]);

    let called = call(&gateway, access(&narrow), "/mcp", "tools/call");
    assert_eq!(called.status, 403, "{}", called.text());
    let called = call(&gateway, access(&wide), "/mcp", "tools/call");
    assert!(called.json()["result"].is_object(), "{}", called.text());
}

#[test]
fn nobody_is_sent_anywhere_where_the_request_is_wrong() {
    let gateway = Gateway::start();
    let app = App::register(&gateway, "App");
    let elsewhere = format!("http://{}/auth/users", gateway.address);
    let requests: [&[(&str, &str)]; 17] = [
        &[("client_id", "")],
        &[("client_id", "nobody")],
        &[("client_id", "https://127.0.0.1:1/c.json/../d")],
        &[("redirect_uri", "")],
        &[("redirect_uri", "https://evil.test/callback")],
        &[("redirect_uri", "http://127.0.0.1:5173/callback/")],
        &[("redirect_uri", "http://127.0.0.1:5173/callback?next=https://evil.test")],
        &[("redirect_uri", "http://127.0.0.1:5173@evil.test/callback")],
        &[("response_type", "token")],
        &[("response_type", "")],
        &[("code_challenge", "")],
        &[("code_challenge_method", "plain")],
        &[("code_challenge_method", "")],
        &[("code_challenge", "short")],
        &[("resource", "https://evil.test/mcp")],
        &[("resource", &elsewhere)],
        &[("scope", "admin")],
    ];
    let mut known = signed_in(&gateway);
    let csrf = known.csrf(&app.path(&[]));

    for wrong in requests {
        let path = app.path(wrong);
        for browser in [&mut Browser::new(&gateway), &mut known] {
            let said = browser.get(&path);
            let to = said.headers.get("location");
            assert_eq!((said.status, to), (400, None), "{wrong:?}: {}", said.text());
        }
        let said = known.post(&path, &[("decision", "allow"), ("csrf", &csrf)]);
        assert_eq!((said.status, said.headers.get("location")), (400, None), "{wrong:?}");
        assert_eq!(Browser::new(&gateway).sign_in(&path, "admin", PASSWORD).status, 400);
    }
    let twice = format!("{}&redirect_uri=https://evil.test/", app.path(&[]));
    assert_eq!(known.get(&twice).status, 400);
    // Ports of this machine are the program's own affair.
    let port = app.path(&[("redirect_uri", "http://127.0.0.1:40000/callback")]);
    assert_eq!(known.get(&port).status, 200);
}

#[test]
fn a_client_that_names_no_endpoint_gets_the_one_of_everything() {
    let gateway = Gateway::start();
    let mut app = App::register(&gateway, "App");
    let mut browser = signed_in(&gateway);
    let path = app.path(&[("resource", "")]);

    let page = browser.get(&path);
    assert!(page.text().contains(&app.resource), "{}", page.text());
    let back = browser.decide(&path, "allow").headers["location"].clone();
    app.resource = String::new();
    let tokens = app.exchange(&field(&back, "code").expect("a code"), &[]).json();

    assert_eq!(call(&gateway, access(&tokens), "/mcp", "tools/list").status, 200);
    assert_eq!(call(&gateway, access(&tokens), "/mcp/default", "tools/list").status, 401);
}

#[test]
fn only_our_own_page_gives_leave() {
    let gateway = Gateway::start();
    let app = App::register(&gateway, "App");
    let (mut browser, path) = (signed_in(&gateway), app.path(&[]));
    let csrf = browser.csrf(&path);
    let others = signed_in(&gateway).csrf(&path);
    let allow = |csrf| [("decision", "allow"), ("csrf", csrf)];

    for site in ["cross-site", "same-site", "none"] {
        assert_eq!(browser.post_from(site, &path, &allow(&csrf)).status, 403, "{site}");
        let signing = [("decision", "sign_in"), ("username", "admin"), ("password", PASSWORD)];
        assert_eq!(Browser::new(&gateway).post_from(site, &path, &signing).status, 403);
    }
    for wrong in ["", "x", &others] {
        assert!(browser.post(&path, &allow(wrong)).status >= 400, "{wrong}");
    }
    let nobody = Browser::new(&gateway).post(&path, &allow(&csrf));
    assert_eq!(field(&nobody.headers["location"], "code"), None, "they are to sign in");
    assert_eq!(browser.post(&path, &[("decision", "x"), ("csrf", &csrf)]).status, 400);
    assert_eq!(browser.post(&path, &allow(&csrf)).status, 303);
}

#[test]
fn who_says_no_is_sent_back_without_a_code_and_may_be_somebody_else() {
    let gateway = Gateway::start();
    let app = App::register(&gateway, "App");
    let (mut browser, path) = (signed_in(&gateway), app.path(&[]));

    let back = browser.decide(&path, "deny").headers["location"].clone();
    let switched = browser.decide(&path, "switch");

    assert_eq!(field(&back, "error").as_deref(), Some("access_denied"));
    assert!(field(&back, "iss").is_some() && field(&back, "code").is_none());
    assert_eq!((switched.status, browser.cookie.is_none()), (303, true));
    assert!(browser.get(&path).text().contains("<h1>Sign in</h1>"));
}

#[test]
fn a_code_is_its_clients_and_good_once() {
    let gateway = Gateway::start();
    let (app, other) = (App::register(&gateway, "App"), App::register(&gateway, "Other"));
    let mut browser = signed_in(&gateway);
    let grant = (400, "invalid_grant".to_owned());
    let elsewhere = format!("{}/default", app.resource);

    for (wrong, expected) in [
        (("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl"), "invalid_grant"),
        (("code_verifier", CHALLENGE), "invalid_grant"),
        (("redirect_uri", "http://127.0.0.1:5174/callback"), "invalid_grant"),
        (("client_id", &*other.id), "invalid_grant"),
        (("resource", &*elsewhere), "invalid_target"),
    ] {
        let code = browser.allow(&app.path(&[]));
        assert_eq!(error(&app.exchange(&code, &[wrong])), (400, expected.into()), "{wrong:?}");
        assert_eq!(error(&app.exchange(&code, &[])), grant, "it was used: {wrong:?}");
    }
    for missing in ["code", "code_verifier", "redirect_uri", "grant_type"] {
        let said = app.exchange("tho_x", &[(missing, "")]);
        assert_eq!(error(&said), (400, "invalid_request".into()), "{missing}");
    }
    let twice = format!("{}&code=y", form(&[("grant_type", "authorization_code"), ("code", "x")]));
    assert_eq!(error(&app.send("/oauth/token", &twice)).0, 400);
    let code = browser.allow(&app.path(&[]));
    let tokens = app.exchange(&code, &[]).json();
    assert_eq!(opens(&gateway, access(&tokens)), 200);

    assert_eq!(error(&app.exchange(&code, &[])), grant);

    assert_eq!(opens(&gateway, access(&tokens)), 401, "the code is in two hands");
    assert_eq!(error(&app.refresh(refresh(&tokens))), grant);
}

#[test]
fn a_code_is_over_soon() {
    let gateway = Gateway::start_with(&[], "access:\n  oauth:\n    code_seconds: 1\n");
    let app = App::register(&gateway, "App");
    let mut browser = signed_in(&gateway);
    let early = browser.allow(&app.path(&[]));
    assert_eq!(app.exchange(&early, &[]).status, 200);

    let late = browser.allow(&app.path(&[]));
    std::thread::park_timeout(std::time::Duration::from_millis(1_100));

    assert_eq!(error(&app.exchange(&late, &[])), (400, "invalid_grant".into()));
}

#[test]
fn a_refresh_token_is_its_clients_and_ends_all_when_it_comes_again() {
    let gateway = Gateway::start();
    let (app, other) = (App::register(&gateway, "App"), App::register(&gateway, "Other"));
    let tokens = app.tokens(&mut signed_in(&gateway), &[]);
    let first = refresh(&tokens);
    let grant = (400, "invalid_grant".to_owned());

    assert_eq!(error(&other.refresh(first)), grant);
    let body = json!({"refresh_token": first}).to_string();
    assert_eq!(gateway.ask_as(None, "POST", "/auth/refresh", Some(&body)).status, 401);
    let wide = [("grant_type", "refresh_token"), ("refresh_token", first), ("scope", "admin")];
    assert_eq!(error(&app.ask(&wide)), (400, "invalid_scope".into()));
    let resource = format!("{}/default", app.resource);
    let wrong =
        [("grant_type", "refresh_token"), ("refresh_token", first), ("resource", &*resource)];
    assert_eq!(error(&app.ask(&wrong)), (400, "invalid_target".into()));
    let second = app.refresh(first).json();
    let third = app.refresh(refresh(&second)).json();
    assert_eq!(third["scope"], "mcp:read mcp:call");
    assert_eq!(opens(&gateway, access(&third)), 200);

    assert_eq!(error(&app.refresh(first)), grant);

    assert_eq!(opens(&gateway, access(&third)), 401);
    assert_eq!(error(&app.refresh(refresh(&third))), grant);
}

#[test]
fn a_second_factor_is_asked_for_where_there_is_one() {
    let gateway = Gateway::start();
    let app = App::register(&gateway, "App");
    let login = json!({"username": "admin", "password": PASSWORD}).to_string();
    let own = gateway.ask_as(None, "POST", "/auth/login", Some(&login)).json();
    let ask = |path: &str, body: Value| {
        let said = gateway.ask_as(Some(access(&own)), "POST", path, Some(&body.to_string()));
        assert_eq!(said.status, 200, "{}", said.text());
        said.json()["data"].clone()
    };
    let enrolment = ask("/auth/totp", json!({"current_password": PASSWORD}));
    let code = one_time(enrolment["secret"].as_str().expect("a secret"));
    let confirmed = ask("/auth/totp/confirm", json!({"totp": code}));
    let recovery = confirmed["recovery_codes"][0].as_str().expect("a code");
    let (mut browser, path) = (Browser::new(&gateway), app.path(&[]));
    let mut sign_in = |code: &str| {
        let fields = [
            ("decision", "sign_in"),
            ("username", "admin"),
            ("password", PASSWORD),
            ("totp", code),
        ];
        browser.post(&path, &fields)
    };

    let (none, wrong, right) = (sign_in(""), sign_in("000000x"), sign_in(recovery));

    assert_eq!((none.status, wrong.status, right.status), (401, 401, 303));
    assert!(none.text().contains("You use a second factor"), "{}", none.text());
    assert!(!none.text().contains(PASSWORD));
}

/// The code that an app shows now for a secret in base32 (RFC 6238).
#[expect(clippy::disallowed_methods, reason = "an app has a clock of its own")]
fn one_time(secret: &str) -> String {
    use openssl::{hash::MessageDigest, pkey::PKey, sign::Signer};
    let place = |letter| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter).expect("base32");
    let bits = |letter| (0..5).rev().map(move |bit| place(letter) >> bit & 1);
    let bits: Vec<usize> = secret.chars().flat_map(bits).collect();
    let byte = |eight: &[usize]| eight.iter().fold(0, |byte, bit| byte << 1 | bit);
    let key = bits.chunks_exact(8).map(byte).map(|byte| u8::try_from(byte).expect("a byte"));
    let key: Vec<u8> = key.collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    let step = now.as_secs() / 30;
    let key = PKey::hmac(&key).expect("a key");
    let mut signer = Signer::new(MessageDigest::sha1(), &key).expect("a signer");
    let digest = signer.sign_oneshot_to_vec(&step.to_be_bytes()).expect("a digest");
    let offset = usize::from(digest[19] & 15);
    let four: [u8; 4] = digest[offset..offset + 4].try_into().expect("four bytes");
    format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
}
