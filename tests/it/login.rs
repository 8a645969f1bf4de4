//! Being somebody at a gateway over the network, from the command line.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{Gateway, PASSWORD};

/// Somebody at another machine, who has nothing but a home and the gateway's URL.
struct Guest {
    home: tempfile::TempDir,
    url: String,
}

impl Guest {
    fn of(gateway: &Gateway) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        Self { home, url: format!("http://{}", gateway.address) }
    }

    fn begin(&self, words: &[&str], typed: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollhouse"));
        command.args(words).env_clear().env("HOME", self.home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        // Whoever refuses at once reads nothing.
        let _ = child.stdin.take().expect("a pipe").write_all(typed.as_bytes());
        child
    }

    fn run(&self, words: &[&str], typed: &str) -> Output {
        self.begin(words, typed).wait_with_output().expect("it ends")
    }

    fn log_in(&self) -> Output {
        let words = ["login", &self.url, "--username", "ana", "--password-stdin", "-o", "json"];
        self.run(&words, PASSWORD)
    }

    /// What a command says that must succeed.
    fn done(&self, words: &[&str]) -> String {
        let output = self.run(words, "");
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    fn file(&self) -> PathBuf {
        self.home.path().join(".config/tollhouse/logins.json")
    }

    fn kept(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).expect("the file")).expect("JSON")
    }

    /// Makes the access token look as if its time were over.
    fn grow_old(&self) {
        let mut kept = self.kept();
        kept[&self.url]["good_until_ms"] = 0.into();
        fs::write(self.file(), kept.to_string()).expect("written");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn house() -> (Gateway, Guest) {
    let gateway = Gateway::start();
    gateway.make_user("", "ana", "admin");
    let guest = Guest::of(&gateway);
    (gateway, guest)
}

#[test]
fn who_signed_in_is_somebody_until_they_sign_out() {
    let (_gateway, guest) = house();
    let stranger = guest.run(&["server", "list", "--url", &guest.url], "");
    assert_eq!(stranger.status.code(), Some(1));
    assert!(said(&stranger).contains("sign in with 'tollhouse login'"), "{}", said(&stranger));

    let signed_in = guest.log_in();

    assert!(signed_in.status.success(), "{}", said(&signed_in));
    let shown: Value = serde_json::from_slice(&signed_in.stdout).expect("JSON");
    assert_eq!(shown, json!({"url": guest.url, "username": "ana"}));
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode(&guest.file()) & 0o777, 0o600);
    assert_eq!(mode(guest.file().parent().expect("a folder")) & 0o777, 0o700);
    let who: Value =
        serde_json::from_str(&guest.done(&["whoami", "--url", &guest.url, "-o", "json"]))
            .expect("JSON");
    assert_eq!((&who["username"], &who["role"]), (&json!("ana"), &json!("admin")));
    guest.done(&["server", "list", "--url", &guest.url]);
    let token = guest.kept()[&guest.url]["access_token"].as_str().expect("a token").to_owned();

    guest.done(&["logout"]);

    assert_eq!(guest.kept(), json!({}));
    let shown = ["server", "list", "--url", &guest.url, "--key", &token];
    assert_eq!(guest.run(&shown, "").status.code(), Some(1), "the token is good for nothing");
    assert_eq!(guest.run(&["logout"], "").status.code(), Some(2));
}

#[test]
fn a_token_is_replaced_in_time_and_by_one_command_alone() {
    let (_gateway, guest) = house();
    assert!(guest.log_in().status.success());
    let before = guest.kept();
    guest.grow_old();

    // A refresh token that two of them showed would end the sign-in.
    let words = ["server", "list", "--url", &guest.url];
    let many: Vec<Child> = (0..8).map(|_| guest.begin(&words, "")).collect();
    for child in many {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", said(&output));
    }

    let after = guest.kept();
    assert_ne!(before[&guest.url]["refresh_token"], after[&guest.url]["refresh_token"]);
    guest.grow_old();
    guest.done(&words);
}

#[test]
fn a_sign_in_that_was_ended_is_forgotten_and_says_so() {
    let (gateway, guest) = house();
    assert!(guest.log_in().status.success());
    let form = json!({"password": "another passphrase of some length"}).to_string();
    let changed = gateway.ask("PATCH", "/auth/users/ana", Some(&form));
    assert_eq!(changed.status, 200, "{}", changed.text());
    guest.grow_old();

    let refused = guest.run(&["server", "list", "--url", &guest.url], "");

    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("you are not signed in"), "{}", said(&refused));
    assert_eq!(guest.kept(), json!({}));
}

#[test]
fn wrong_passwords_and_open_roads_are_refused_and_nothing_is_kept() {
    let (_gateway, guest) = house();
    let words = ["login", &guest.url, "--username", "ana", "--password-stdin"];

    let wrong = guest.run(&words, "not the passphrase at all");
    let overheard = ["login", "http://gate.example.com", "--username", "a", "--password-stdin"];
    let overheard = guest.run(&overheard, PASSWORD);
    let nowhere = guest.run(&["login", "--username", "ana", "--password-stdin"], PASSWORD);

    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).contains("fix: check the name and the password"), "{}", said(&wrong));
    assert_eq!(overheard.status.code(), Some(2));
    assert!(said(&overheard).contains("--allow-http"), "{}", said(&overheard));
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(!guest.file().exists());
}

#[test]
fn clients_that_stay_are_told_to_bring_a_key() {
    let (_gateway, guest) = house();
    assert!(guest.log_in().status.success());

    let refused = guest.run(&["stdio", "--url", &guest.url], "");

    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("needs a key of its own"), "{}", said(&refused));
}

#[test]
fn a_file_that_nobody_understands_is_named() {
    let (_gateway, guest) = house();
    assert!(guest.log_in().status.success());
    fs::write(guest.file(), "{").expect("written");

    let refused = guest.run(&["server", "list", "--url", &guest.url], "");

    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("logins.json cannot be used"), "{}", said(&refused));
}
