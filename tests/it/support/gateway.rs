//! A real gateway: the binary, on a port of its own, with a folder of its own.

use std::{
    io::Write,
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

use super::{Answer, Connection, eventually, request};

pub(crate) const PASSWORD: &str = "correct horse battery staple 9";

pub(crate) struct Gateway {
    folder: TempDir,
    process: Option<Child>,
    pub(crate) address: String,
    pub(crate) key: String,
}

impl Gateway {
    /// A claimed gateway that serves.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], "")
    }

    /// One with settings of its own, as environment and as file.
    pub(crate) fn start_with(environment: &[(&str, &str)], config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut gateway =
            Self { folder, process: None, address: String::new(), key: String::new() };
        std::fs::write(gateway.folder.path().join("config.yaml"), config).expect("writable");
        gateway.key = gateway.claim();
        gateway.run(environment);
        gateway
    }

    fn claim(&self) -> String {
        let mut setup = Self::command(
            &["setup", "-q", "--username", "admin", "--password-stdin", "-o", "json"],
            &self.data(),
        );
        let mut child = setup.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(PASSWORD.as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "setup failed");
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        printed["api_key"].as_str().expect("a key").to_owned()
    }

    /// The same gateway as somebody sees it who has another key, or a token.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (address, key) = (self.address.clone(), key.to_owned());
        Self { folder, process: None, address, key }
    }

    /// Starts the process on the folder there is.
    pub(crate) fn run(&mut self, environment: &[(&str, &str)]) {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("writable");
        self.run_with_log(environment, log.into());
    }

    /// The same, with its standard error going somewhere else.
    pub(crate) fn run_with_log(&mut self, environment: &[(&str, &str)], log: Stdio) {
        assert!(self.process.is_none(), "it runs already");
        let config = self.folder.path().join("config.yaml");
        let mut start = Self::command(&["start", "--listen", "127.0.0.1:0"], &self.data());
        start.arg("--config").arg(config).envs(environment.iter().copied());
        let process = start.stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        self.process = Some(process);
        self.address = eventually("the gateway serves", || {
            let exited = self.process.as_mut()?.try_wait().expect("a process");
            assert!(exited.is_none(), "the gateway ended: {}", self.log());
            let status = self.cli(&["status", "-o", "json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
            let listen = status["listen"].as_str()?;
            (!listen.ends_with(":0")).then(|| listen.to_owned())
        });
    }

    /// Runs a command of the CLI on this gateway's folder.
    pub(crate) fn cli(&self, words: &[&str]) -> Output {
        let dashes = words.iter().position(|word| *word == "--").unwrap_or(words.len());
        let (before, after) = words.split_at(dashes);
        let mut command = Self::command(before, &self.data());
        command.args(after).output().expect("the command runs")
    }

    /// The same with this on its standard input.
    pub(crate) fn piped(&self, words: &[&str], text: &str) -> Output {
        let mut command = Self::command(words, &self.data());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(text.as_bytes()).expect("it reads");
        drop(input);
        child.wait_with_output().expect("it ends")
    }

    /// As [`Gateway::cli`], for commands that must succeed.
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?} failed: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn command(words: &[&str], data: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollhouse"));
        command.args(words).args(["--data", data]).env_remove("TOLLHOUSE_URL");
        command
    }

    pub(crate) fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    /// One request on a connection of its own, with the administrator's key.
    pub(crate) fn ask(&self, verb: &str, path: &str, body: Option<&str>) -> Answer {
        self.ask_with(verb, path, &[], body)
    }

    pub(crate) fn ask_with(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let mut all = vec![("Authorization", &*bearer), ("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        self.send(&request(verb, path, &self.address, &all, body))
    }

    /// The same with another key, or with none.
    pub(crate) fn ask_as(
        &self,
        key: Option<&str>,
        verb: &str,
        path: &str,
        body: Option<&str>,
    ) -> Answer {
        let bearer = format!("Bearer {}", key.unwrap_or_default());
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(key.map(|_| ("Authorization", &*bearer)));
        self.send(&request(verb, path, &self.address, &headers, body))
    }

    /// Makes an API key as a form says, and gives its id and its text.
    pub(crate) fn make_key(&self, place: &str, form: &serde_json::Value) -> (String, String) {
        let made = self.ask("POST", &format!("/auth/api-keys{place}"), Some(&form.to_string()));
        assert_eq!(made.status, 201, "{form}: {}", made.text());
        let text = |member: &str| made.json()["data"][member].as_str().expect("text").to_owned();
        (text("id"), text("key"))
    }

    /// Makes an organization with an administrator, and gives the text of their API key.
    pub(crate) fn make_tenant(&self, form: &serde_json::Value) -> String {
        let made = self.ask("POST", "/api/admin/organizations", Some(&form.to_string()));
        assert_eq!(made.status, 201, "{}", made.text());
        let slug = form["slug"].as_str().expect("a slug");
        let place = format!("?organization={slug}");
        let name = format!("boss-of-{slug}");
        self.make_user(&place, &name, "admin");
        let form = serde_json::json!({"name": "boss", "role": "admin", "user_id": name});
        self.make_key(&place, &form).1
    }

    /// Makes an account, and gives its id.
    pub(crate) fn make_user(&self, place: &str, name: &str, role: &str) -> String {
        let form = serde_json::json!({"username": name, "password": PASSWORD, "role": role});
        let made = self.ask("POST", &format!("/auth/users{place}"), Some(&form.to_string()));
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["data"]["id"].as_str().expect("an id").to_owned()
    }

    /// Bytes as they are, on a connection of their own.
    pub(crate) fn send(&self, bytes: &[u8]) -> Answer {
        let mut connection = self.connect();
        connection.send(bytes);
        connection.read().expect("an answer")
    }

    /// A call of the stateless revision; `params` are members without their braces.
    pub(crate) fn call(&self, path: &str, method: &str, params: &str) -> Answer {
        self.call_named(path, method, None, params)
    }

    pub(crate) fn call_named(
        &self,
        path: &str,
        method: &str,
        name: Option<&str>,
        params: &str,
    ) -> Answer {
        let comma = if params.is_empty() { "" } else { "," };
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{comma}"_meta":{META}}}}}"#
        );
        let mut headers = vec![("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
        headers.extend(name.map(|name| ("Mcp-Name", name)));
        self.ask_with("POST", path, &headers, Some(&body))
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits until the process has ended, and says how.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.process.take().expect("it runs").wait().expect("a process")
    }
}

/// `_meta` as a client of the stateless revision sends it.
pub(crate) const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}
