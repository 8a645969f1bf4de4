//! Extensions: what both ends know passes between them, whatever the gateway knows of it.

use serde_json::{Value, json};

use crate::support::{Act, Answer, FakeServer, Gateway, answer, gateway_meta, legacy_session};

const OURS: &str = "io.modelcontextprotocol/tasks";
const THEIRS: &str = "com.example/skills";

/// A server that knows an extension with a method and a tool that shows a page.
fn skilled() -> FakeServer {
    FakeServer::play(|seen| {
        let asked = seen.json();
        let result = match asked["method"].as_str().unwrap_or_default() {
            "server/discover" => json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": {
                    "tools": {}, "resources": {},
                    "extensions": { THEIRS: { "depth": 2 }, OURS: { "odd": true } },
                },
                "ttlMs": 0, "cacheScope": "private",
            })
            .to_string(),
            "tools/list" => r#"{"tools":[{"name":"t","inputSchema":{"type":"object"},"_meta":{"x":1,"ui":{"resourceUri":"ui://page","visibility":["app"]},"ui/resourceUri":"ui://page"}}]}"#.into(),
            "resources/list" => r#"{"resources":[{"uri":"ui://page","name":"p","mimeType":"text/html;profile=mcp-app"}]}"#.into(),
            "skills/list" => r#"{"skills":[{"name":"a","size":1.0}]}"#.into(),
            _ => r#"{"content":[]}"#.into(),
        };
        Act::Json(answer(&asked, &result))
    })
}

fn ask(gateway: &Gateway, path: &str, method: &str, extensions: &Value) -> Answer {
    let said = json!({ "extensions": extensions }).to_string();
    let meta = gateway_meta()
        .replace(r#"clientCapabilities":{}"#, &format!(r#"clientCapabilities":{said}"#));
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"cursor":"c","_meta":{meta}}}}}"#
    );
    let headers = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
    gateway.ask_with("POST", path, &headers, Some(&body))
}

#[test]
fn an_extension_that_both_ends_know_passes_through() {
    let server = skilled();
    let gateway = Gateway::start();
    gateway.done(&["register", "-q", "s", "--endpoint", &server.url]);
    let (knows, knows_not) = (json!({ THEIRS: { "mine": 1 }, OURS: {} }), json!({ "a/b": {} }));

    let found = gateway.call("/servers/s/mcp", "server/discover", "").json();
    assert_eq!(
        found["result"]["capabilities"]["extensions"],
        json!({ THEIRS: { "depth": 2 }, OURS: {} })
    );
    let said = ask(&gateway, "/servers/s/mcp", "skills/list", &knows);

    assert_eq!(
        (said.status, said.json()["result"]["resultType"].clone()),
        (200, json!("complete"))
    );
    assert!(said.text().contains(r#""skills":[{"name":"a","size":1.0}]"#), "{}", said.text());
    let asked = server.asked("skills/list")[0].json();
    assert_eq!(asked["params"]["cursor"], "c");
    let told = &asked["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(told["extensions"][THEIRS], json!({ "mine": 1 }), "{told}");
    for (path, extensions) in
        [("/servers/s/mcp", &knows_not), ("/servers/s/mcp", &json!({})), ("/mcp", &knows)]
    {
        let refused = ask(&gateway, path, "skills/list", extensions);
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (404, &json!(-32601)));
    }
    assert_eq!(server.asked("skills/list").len(), 1);
}

#[test]
fn an_older_client_is_told_of_extensions_but_not_of_todays_tasks() {
    let server = skilled();
    let gateway = Gateway::start();
    gateway.done(&["register", "-q", "s", "--endpoint", &server.url]);
    // Only a server that has answered can be told of.
    gateway.call("/servers/s/mcp", "tools/list", "");
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"old","version":"1"}}}"#;

    let said = gateway.ask("POST", "/mcp", Some(body)).json();

    let capabilities = &said["result"]["capabilities"];
    assert_eq!(capabilities["extensions"], json!({ THEIRS: { "depth": 2 } }));
    assert!(capabilities["tasks"].is_object());
}

#[test]
fn a_page_goes_by_the_name_its_resource_goes_by() {
    let (a, b) = (skilled(), skilled());
    let gateway = Gateway::start();
    gateway.done(&["register", "-q", "a", "--endpoint", &a.url]);
    gateway.done(&["register", "-q", "b", "--endpoint", &b.url]);

    let tools = legacy_session(&gateway, "/mcp").call("tools/list", "{}").json();
    let resources = gateway.call("/mcp", "resources/list", "").json();

    let page = |tool: &str, path: &str| {
        let tools = tools["result"]["tools"].as_array().expect("tools");
        let tool = tools.iter().find(|it| it["name"] == tool).expect("listed");
        tool["_meta"].pointer(path).expect("a page").as_str().expect("a URI").to_owned()
    };
    let uris: Vec<&Value> = resources["result"]["resources"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| &it["uri"])
        .collect();
    for tool in ["a__t", "b__t"] {
        let uri = page(tool, "/ui/resourceUri");
        assert_eq!(page(tool, "/ui~1resourceUri"), uri);
        assert!(uri.starts_with("ui://page#tollhouse="), "{uri}");
        assert!(uris.contains(&&Value::from(uri)), "{uris:?}");
    }
}
