use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Environment, File, Flags, Loaded, Origin, Settings};

const HOME: (&str, &str) = ("HOME", "/home/ana");

fn file(text: &str) -> File {
    File { path: PathBuf::from("/c.yaml"), text: text.to_owned() }
}

fn load(environment: &Environment) -> Loaded {
    Settings::load(&Flags::default(), environment, None).expect("sound settings")
}

fn faults(flags: &Flags, environment: &Environment, text: &str) -> Vec<String> {
    let file = file(text);
    let faults = Settings::load(flags, environment, Some(&file)).expect_err("wrong settings");
    faults.0.iter().map(ToString::to_string).collect()
}

fn said<'a>(loaded: &'a Loaded, key: &str) -> (&'a Value, &'a Origin) {
    let entry = loaded.entries.iter().find(|entry| entry.key == key).expect(key);
    (&entry.value, &entry.origin)
}

#[test]
fn without_a_word_everything_has_a_default() {
    let loaded = load(&Environment::from([HOME]));

    assert_eq!(loaded.settings.data, PathBuf::from("/home/ana/.local/share/tollhouse"));
    assert_eq!(loaded.settings.listen.to_string(), "127.0.0.1:8080");
    assert!(loaded.settings.access.enabled);
    assert_eq!(said(&loaded, "drain_seconds"), (&json!(10), &Origin::Default));
}

#[test]
fn the_file_yields_to_the_environment_and_that_to_the_command_line() {
    let file = file("drain_seconds: 1\nlisten: 127.0.0.1:1\npipeline:\n  max_attempts: 5\n");
    let environment = Environment::from([
        HOME,
        ("TOLLHOUSE_DRAIN_SECONDS", "2"),
        ("TOLLHOUSE_LISTEN", "[::1]:2"),
    ]);
    let flags = Flags { listen: Some("localhost:3".into()), ..Flags::default() };

    let loaded = Settings::load(&flags, &environment, Some(&file)).expect("sound settings");

    let at_line_4 = Origin::File { path: "/c.yaml".into(), line: 4 };
    assert_eq!(said(&loaded, "pipeline.max_attempts"), (&json!(5), &at_line_4));
    let variable = Origin::Variable("TOLLHOUSE_DRAIN_SECONDS".into());
    assert_eq!(said(&loaded, "drain_seconds"), (&json!(2), &variable));
    assert_eq!(said(&loaded, "listen").1, &Origin::Flag("--listen"));
    assert_eq!(loaded.settings.listen.to_string(), "127.0.0.1:3");
}

#[test]
fn documented_names_are_understood() {
    let loaded = load(&Environment::from([
        HOME,
        ("MCP_GATEWAY_HOST", "localhost"),
        ("MCP_GATEWAY_PORT", "9000"),
        ("MCP_GATEWAY_REQUEST_TIMEOUT", "90"),
        ("MCP_GATEWAY_HEALTH_TIMEOUT", "2.5"),
        ("MCP_GATEWAY_LOG_LEVEL", "WARNING"),
        ("MCP_GATEWAY_LOG_FORMAT", "json"),
        ("GATEWAY_AUTH_ENABLED", "False"),
    ]));

    let both = Origin::Variable("MCP_GATEWAY_HOST and MCP_GATEWAY_PORT".into());
    assert_eq!(said(&loaded, "listen").1, &both);
    assert_eq!(loaded.settings.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(loaded.settings.pipeline.timeout_seconds, 90);
    assert_eq!(loaded.settings.catalog.ask_ms, 2_500);
    assert_eq!(loaded.settings.observe.level, "warn");
    assert!(!loaded.settings.access.enabled);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn documented_names_without_a_feature_are_named_and_not_shown() {
    let loaded = load(&Environment::from([HOME, ("GATEWAY_ADMIN_PASSWORD", "hunter2")]));

    let expected = "GATEWAY_ADMIN_PASSWORD is not used by this version: \
        claim the gateway with 'tollhouse setup'";
    assert_eq!(loaded.warnings, [expected]);
}

#[test]
fn two_names_of_one_setting_must_agree() {
    let same = [HOME, ("GATEWAY_AUTH_ENABLED", "no"), ("TOLLHOUSE_ACCESS__ENABLED", "false")];
    let different = [
        HOME,
        ("GATEWAY_AUTH_ENABLED", "false"),
        ("TOLLHOUSE_ACCESS__ENABLED", "true"),
        ("MCP_GATEWAY_PORT", "1"),
        ("TOLLHOUSE_LISTEN", "127.0.0.1:2"),
    ];

    assert!(!load(&Environment::from(same)).settings.access.enabled);
    let said = faults(&Flags::default(), &Environment::from(different), "").join("\n");
    assert!(said.contains("GATEWAY_AUTH_ENABLED and TOLLHOUSE_ACCESS__ENABLED"), "{said}");
    assert!(said.contains("TOLLHOUSE_LISTEN and MCP_GATEWAY_PORT"), "{said}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = "\
lisen: 127.0.0.1:1
public_url: nonsense
access:
  max_keys: many
store: 7
observe:
  format: xml
traffic:
  max_in_flight: 0
pipline:
  max_attempts: 2
";
    let environment = Environment::from([
        HOME,
        ("TOLLHOUSE_PIPELINE__MAX_ATTEMTPS", "3"),
        ("MCP_GATEWAY_PORT", "99999"),
    ]);

    let said = faults(&Flags::default(), &environment, text);

    let expected = [
        "lisen (from /c.yaml:1) is not a setting\n    did you mean listen?",
        "access.max_keys: \"many\" (from /c.yaml:4) is not a whole number of the allowed size\n    \
         write for example 10000",
        "store: 7 (from /c.yaml:5) stands where a group of settings belongs\n    \
         write the group's settings below it, indented",
        "observe.format: \"xml\" (from /c.yaml:7) is not understood: unknown variant `xml`, \
         expected one of `auto`, `text`, `json`\n    write for example \"auto\"",
        "traffic.max_in_flight: 0 (from /c.yaml:9) would allow nothing at all\n    \
         write for example 10000",
        "pipline (from /c.yaml:10) is not a setting\n    did you mean pipeline?",
        "pipeline.max_attemtps (from TOLLHOUSE_PIPELINE__MAX_ATTEMTPS) is not a setting\n    \
         did you mean pipeline.max_attempts?",
        "listen: \"127.0.0.1:99999\" (from MCP_GATEWAY_PORT) is not understood: expected an \
         address and a port\n    write for example \"127.0.0.1:8080\"",
        "public_url (from /c.yaml:2) is not the plain URL of a site\n    \
         write for example https://tools.example.com",
    ];
    assert_eq!(said, expected);
}

#[test]
fn no_number_is_so_large_that_computing_with_it_overflows() {
    for key in ["ACCESS__HASHES_AT_ONCE", "CATALOG__RETRY_MAX_SECONDS", "DRAIN_SECONDS"] {
        let name = format!("TOLLHOUSE_{key}");
        let load = |value| {
            let environment = Environment::from([HOME, (&*name, value)]);
            Settings::load(&Flags::default(), &environment, None)
        };

        let refused = load("18446744073709551615").expect_err(key).to_string();

        assert!(refused.contains("is not a whole number of the allowed size"), "{refused}");
        assert!(load("1000000").is_ok(), "{key}");
    }
}

#[test]
fn only_loopback_may_be_open_or_bare() {
    let open = Environment::from([
        HOME,
        ("GATEWAY_AUTH_ENABLED", "false"),
        ("MCP_GATEWAY_HOST", "0.0.0.0"),
    ]);
    let behind_proxy = Environment::from([
        HOME,
        ("MCP_GATEWAY_HOST", "0.0.0.0"),
        ("TOLLHOUSE_I_TERMINATE_TLS_ELSEWHERE", "true"),
    ]);

    let said = faults(&Flags::default(), &open, "");

    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("access.enabled: false (from GATEWAY_AUTH_ENABLED)"), "{said:?}");
    assert!(said[1].starts_with("listen: 0.0.0.0:8080 (from MCP_GATEWAY_HOST)"), "{said:?}");
    assert!(!load(&behind_proxy).settings.listen.ip().is_loopback());
}

#[test]
fn variables_that_platforms_set_only_warn() {
    let environment = Environment::from([
        HOME,
        ("TOLLHOUSE_PORT", "tcp://10.0.0.1:80"),
        ("TOLLHOUSE_DRAIN_SECOND", "3"),
        ("TOLLHOUSE_KEY", "thk_x"),
    ]);

    let loaded = load(&environment);

    let expected = [
        "TOLLHOUSE_DRAIN_SECOND is not a setting and is ignored; did you mean \
         TOLLHOUSE_DRAIN_SECONDS?",
        "TOLLHOUSE_PORT is not a setting and is ignored",
    ];
    assert_eq!(loaded.warnings, expected);
}

#[test]
fn what_is_not_yaml_is_refused_with_its_line() {
    let said = faults(&Flags::default(), &Environment::from([HOME]), "data: /d\nlisten: [1\n");

    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("the settings file (from /c.yaml:"), "{said:?}");
    let twice = faults(&Flags::default(), &Environment::from([HOME]), "data: /d\ndata: /e\n");
    assert_eq!(
        twice,
        ["the settings file (from /c.yaml:2) says data twice\n    keep one of the two"]
    );
}

#[test]
fn without_a_home_a_data_folder_must_be_named() {
    let nowhere = Environment::default();
    let named = Flags { data: Some("/d".into()), ..Flags::default() };

    let said = faults(&Flags::default(), &nowhere, "");
    let loaded = Settings::load(&named, &nowhere, None).expect("sound settings");

    assert!(said[0].ends_with("give --data DIR"), "{said:?}");
    assert_eq!(loaded.settings.socket(), PathBuf::from("/d/tollhouse.sock"));
}

#[test]
fn a_named_file_must_be_there() {
    let missing = PathBuf::from("/nonexistent/config.yaml");

    let named = File::find(Some(&missing), &Environment::default());
    let searched = File::find(None, &Environment::from([("HOME", "/nonexistent")]));

    assert!(named.expect_err("no file").to_string().contains("(from --config) cannot be read"));
    assert!(searched.expect("no need of one").is_none());
}
