//! The audit from outside: who changed what, and whether somebody changed that.

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde_json::{Value, json};

use crate::support::Gateway;

const AUDIT: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("audit");
const FEED: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("feed");

/// A gateway in which a few things were changed, and that does not run any more.
fn stopped() -> Gateway {
    let mut gateway = Gateway::start();
    for name in ["one", "two", "three", "four"] {
        gateway.make_key("", &json!({"name": name, "role": "user"}));
    }
    gateway.signal("-TERM");
    gateway.wait();
    gateway
}

fn open(gateway: &Gateway) -> Database {
    let store = std::path::Path::new(&gateway.data()).join("state.redb");
    Database::open(store).expect("it opens")
}

/// Changes records of a table, given their keys and bytes.
fn tamper(
    gateway: &Gateway,
    tables: &[TableDefinition<'static, &[u8], &[u8]>],
    change: impl Fn(&mut Vec<(Vec<u8>, Vec<u8>)>),
) {
    let database = open(gateway);
    for definition in tables {
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = {
            let reading = database.begin_read().unwrap();
            let table = reading.open_table(*definition).unwrap();
            let all = table.iter().unwrap().map(Result::unwrap);
            all.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).collect()
        };
        let before = records.clone();
        change(&mut records);
        let writing = database.begin_write().unwrap();
        {
            let mut table = writing.open_table(*definition).unwrap();
            for (key, _) in &before {
                table.remove(key.as_slice()).unwrap();
            }
            for (key, value) in &records {
                table.insert(key.as_slice(), value.as_slice()).unwrap();
            }
        }
        writing.commit().unwrap();
    }
}

fn verified(gateway: &Gateway) -> Value {
    let said = gateway.cli(&["audit", "verify", "-o", "json"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| json!({ "error": String::from_utf8_lossy(&said.stderr) }))
}

fn faults(verified: &Value) -> Vec<(u64, String)> {
    let all = verified["faults"].as_array().unwrap_or_else(|| panic!("{verified}"));
    let one =
        |it: &Value| (it["sequence"].as_u64().unwrap(), it["reason"].as_str().unwrap().to_owned());
    all.iter().map(one).collect()
}

#[test]
fn one_byte_of_the_audit_that_was_changed_is_named() {
    let gateway = stopped();
    assert!(faults(&verified(&gateway)).is_empty());
    tamper(&gateway, &[AUDIT], |lines| *lines[2].1.last_mut().unwrap() ^= 1);

    let found = faults(&verified(&gateway));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, 3);
    assert!(found[0].1.starts_with("it is not what was written here"), "{found:?}");
    let said = gateway.cli(&["audit", "verify"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("line 3: "));
}

#[test]
fn lines_that_were_deleted_or_swapped_are_named() {
    let gateway = stopped();
    tamper(&gateway, &[AUDIT], |lines| drop(lines.remove(2)));
    assert_eq!(faults(&verified(&gateway)), [(3, "it is missing".to_owned())]);

    let gateway = stopped();
    tamper(&gateway, &[AUDIT], |lines| {
        let (first, second) = (lines[1].1.clone(), lines[3].1.clone());
        (lines[1].1, lines[3].1) = (second, first);
    });
    let found = faults(&verified(&gateway));
    assert_eq!(found.iter().map(|it| it.0).collect::<Vec<_>>(), [2, 4], "{found:?}");
}

#[test]
fn an_end_that_was_cut_off_is_seen_at_once() {
    let gateway = stopped();
    tamper(&gateway, &[AUDIT, FEED], |lines| lines.truncate(lines.len() - 2));
    let said = verified(&gateway)["error"].to_string();
    assert!(said.contains("lines were cut off the end of the audit"), "{said}");

    let gateway = stopped();
    tamper(&gateway, &[AUDIT], |lines| *lines.last_mut().unwrap().1.last_mut().unwrap() ^= 1);
    let said = verified(&gateway)["error"].to_string();
    assert!(said.contains("of the audit is not what was written there"), "{said}");
}

#[test]
fn who_changed_what_is_listed_for_those_who_may_see_it() {
    let gateway = Gateway::start();
    let umbra = gateway.make_tenant(&json!({"slug": "umbra"}));
    let key = json!({"name": "shadow", "role": "user"}).to_string();
    assert_eq!(gateway.ask_as(Some(&umbra), "POST", "/auth/api-keys", Some(&key)).status, 201);
    gateway.make_key("", &json!({"name": "=ours,\"x\"", "role": "user"}));

    let list = |key: &str, query: &str| {
        let said = gateway.ask_as(Some(key), "GET", &format!("/admin/audit{query}"), None);
        assert_eq!(said.status, 200, "{}", said.text());
        said.json()
    };
    let names = |said: &Value| {
        let all = said["data"].as_array().unwrap().iter();
        all.map(|it| it["resource_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let theirs = list(&umbra, "?resource_type=key&action=created");
    assert!(names(&theirs).contains(&"shadow".to_owned()), "{theirs}");
    assert!(!names(&theirs).contains(&"=ours,\"x\"".to_owned()), "{theirs}");
    let all = list(&gateway.key, "?action=key.created&limit=1");
    assert_eq!(
        (names(&all), &all["data"][0]["action"]),
        (vec!["=ours,\"x\"".to_owned()], &json!("key.created"))
    );
    assert!(all["pagination"]["total"].as_u64() > Some(1));
    assert!(all["data"][0]["chain"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(list(&gateway.key, "?since=2999-01-01T00:00:00Z")["count"], 0);
    let wrong = gateway.ask("GET", "/admin/audit?since=yesterday", None);
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    let (_, user) = gateway.make_key("", &json!({"name": "ben", "role": "user"}));
    assert_eq!(gateway.ask_as(Some(&user), "GET", "/admin/audit", None).status, 403);

    let listed = gateway.done(&["audit", "list", "--action", "key.created", "--about", "shadow"]);
    assert!(listed.contains("shadow") && listed.lines().count() == 2, "{listed}");
    let csv = gateway.done(&["audit", "export", "--csv", "--of", "key"]);
    assert!(csv.starts_with("number,at,actor,action,id,name,detail,address,old,new\n"), "{csv}");
    assert!(csv.contains("\"'=ours,\"\"x\"\"\""), "{csv}");
    let lines = gateway.done(&["audit", "export"]);
    let numbers: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap())
        .collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
    assert!(gateway.done(&["audit", "verify"]).starts_with("all "));
}

#[test]
fn lines_say_what_was_and_what_is_and_where_it_came_from_and_no_secret() {
    let gateway = Gateway::start();
    let form =
        json!({"name": "wiki", "url": "http://127.0.0.1:9/mcp", "headers": {"X-Pass": "hunter2"}});
    assert_eq!(gateway.ask("POST", "/gateway/servers", Some(&form.to_string())).status, 201);
    let change = json!({"state": "maintenance"}).to_string();
    assert_eq!(gateway.ask("PATCH", "/gateway/servers/wiki", Some(&change)).status, 200);
    gateway.make_key("", &json!({"name": "ben", "role": "user"}));

    let lines = |query: &str| {
        let said = gateway.ask("GET", &format!("/admin/audit?{query}"), None);
        assert_eq!(said.status, 200, "{}", said.text());
        said.json()["data"].as_array().unwrap().clone()
    };
    let made = &lines("action=server.created")[0];
    assert_eq!((&made["old_values"], &made["actor_ip"]), (&Value::Null, &json!("127.0.0.1")));
    assert_eq!(made["new_values"]["name"], "wiki");
    let changed = &lines("action=server.updated")[0];
    assert_eq!(changed["old_values"], json!({"state": "active"}), "{changed}");
    assert_eq!(changed["new_values"], json!({"state": "maintenance"}));
    let key = &lines("action=key.created&resource_id=ben")[0];
    assert_eq!(key["new_values"]["digest"], "[secret]");
    let all = gateway.done(&["audit", "export"]);
    assert!(all.contains("[secret]") && !all.contains("hunter2") && !all.contains("$argon2id"));
    let csv = gateway.done(&["audit", "export", "--csv", "--action", "server.updated"]);
    assert!(
        csv.contains(r#",127.0.0.1,"{""state"":""active""}","{""state"":""maintenance""}""#),
        "{csv}"
    );
    assert!(gateway.done(&["audit", "verify"]).starts_with("all "));
}

#[test]
fn what_was_refused_is_told_once_with_how_often() {
    let mut gateway = Gateway::start();
    let (_, user) = gateway.make_key("", &json!({"name": "ben", "role": "user"}));
    for _ in 0..3 {
        let said = gateway.ask_as(Some(&user), "GET", "/admin/audit", None);
        assert_eq!(said.status, 403);
    }
    for name in ["admin", "a secret typed in the wrong place"] {
        let form = json!({"username": name, "password": "wrong and long enough"}).to_string();
        assert_eq!(gateway.ask_as(None, "POST", "/auth/login", Some(&form)).status, 401);
    }
    // Whoever ends writes what is not written yet.
    gateway.signal("-TERM");
    gateway.wait();
    gateway.run(&[]);

    let said = gateway.ask("GET", "/admin/audit?action=refused", None).json();

    let lines = said["data"].as_array().unwrap();
    let of = |action: &str| lines.iter().filter(|it| it["action"] == action).collect::<Vec<_>>();
    let refused = of("request.refused");
    assert!(refused.iter().all(|it| it["resource_id"] == "GET /admin/audit"), "{said}");
    assert!(refused.iter().all(|it| it["resource_name"] == "audit:read"), "{said}");
    let times = |it: &&Value| match it["detail"].as_str() {
        None => 1,
        Some(detail) => detail.split(' ').next().unwrap().parse::<u32>().unwrap(),
    };
    assert_eq!(refused.iter().map(times).sum::<u32>(), 3, "{said}");
    let names: Vec<_> =
        of("sign_in.refused").iter().map(|it| it["resource_name"].clone()).collect();
    assert!(names.len() == 2 && names.contains(&json!("admin")), "{said}");
    assert!(!said.to_string().contains("wrong place"), "{said}");
    assert!(gateway.done(&["audit", "verify"]).starts_with("all "));
}

#[test]
fn a_report_says_who_could_do_what_and_when_and_who_changed_what() {
    let gateway = Gateway::start();
    let ana = gateway.make_user("", "ana", "user");
    let path = format!("/auth/users/{ana}");
    assert_eq!(gateway.ask("PATCH", &path, Some(r#"{"name":"Ana"}"#)).status, 200);
    assert_eq!(gateway.ask("PATCH", &path, Some(r#"{"role":"admin"}"#)).status, 200);
    assert_eq!(gateway.ask("DELETE", &path, None).status, 200);
    let umbra = gateway.make_tenant(&json!({"slug": "umbra"}));

    let said = gateway.ask("GET", "/api/admin/audit/report", None).json();

    let rows = said["data"]["access"].as_array().unwrap().iter();
    let rows: Vec<_> = rows.filter(|it| it["name"] == "ana").collect();
    assert_eq!(rows.iter().map(|it| &it["role"]).collect::<Vec<_>>(), ["user", "admin"], "{said}");
    assert_eq!(rows[0]["until"], rows[1]["from"]);
    assert!(rows[1]["until"].is_string() && rows[1]["is_certain"] == true);
    let changes = said["data"]["changes"].as_array().unwrap();
    let updated = changes.iter().find(|it| it["action"] == "user.updated").unwrap();
    assert_eq!(updated["count"], 2);
    let theirs = gateway.ask_as(Some(&umbra), "GET", "/api/admin/audit/report", None);
    assert!(theirs.text().contains("boss-of-umbra") && !theirs.text().contains("\"ana\""));

    let csv = gateway.done(&["audit", "report", "--csv", "--since", "1h"]);
    assert!(csv.starts_with("kind,id,name,organization_id,from,until,role,"), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.contains(",ana,")).count(), 2, "{csv}");
    let table = gateway.done(&["audit", "report", "--changes"]);
    assert!(table.contains("user.deleted"), "{table}");
}
