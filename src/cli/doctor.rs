//! `tollhouse doctor`: looks at everything that is commonly wrong.

use std::{io, net::TcpListener, os::unix::fs::MetadataExt};

use clap::Args;
use serde::Serialize;

use super::{
    Context, Failure, holder,
    out::{Color, Format},
    reach,
};
use crate::{
    app::Folder,
    client::Client,
    config::{Loaded, Settings},
};

/// Looks at everything that is commonly wrong. Ends with 0 when all is well, 1 when there are
/// warnings and --strict is given, 2 when something is broken.
#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = "Examples:\n  tollhouse doctor\n  tollhouse doctor --strict -o json")]
pub(super) struct Doctor {
    /// Let warnings count
    #[arg(long)]
    strict: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Fine,
    Warning,
    Broken,
}

/// What was looked at, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn fine(what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fine, what: what.into(), fix: None }
    }

    fn warning(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, what: what.into(), fix: Some(fix.into()) }
    }

    fn broken(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Broken, what: what.into(), fix: Some(fix.into()) }
    }
}

/// Prints the findings and says what the process ends with.
pub(super) async fn run(context: &Context, doctor: Doctor) -> Result<u8, Failure> {
    let findings = look(context).await?;
    if context.out.format == Format::Json {
        context.out.json(&findings)?;
    } else {
        let shown = |finding: &&Finding| !context.out.is_quiet || finding.verdict != Verdict::Fine;
        findings.iter().filter(shown).try_for_each(|finding| print(context, finding))?;
    }
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Fine);
    Ok(match worst {
        Verdict::Broken => 2,
        Verdict::Warning if doctor.strict => 1,
        Verdict::Fine | Verdict::Warning => 0,
    })
}

fn print(context: &Context, finding: &Finding) -> Result<(), Failure> {
    let out = context.out;
    let sign = match finding.verdict {
        Verdict::Fine => out.paint(Color::Green, "✓"),
        Verdict::Warning => out.paint(Color::Yellow, "!"),
        Verdict::Broken => out.paint(Color::Red, "✗"),
    };
    out.line(&format!("{sign} {}", out.tame(&finding.what)))?;
    finding.fix.iter().try_for_each(|fix| out.line(&format!("    {}", out.tame(fix))))
}

async fn look(context: &Context) -> Result<Vec<Finding>, Failure> {
    if let Some(client) = reach::remote(context).await? {
        return Ok(inside(context, &client, false).await);
    }
    let loaded = match context.read_settings() {
        Ok(loaded) => loaded,
        Err(faults) => {
            let broken = |fault: &crate::config::Fault| {
                let text = fault.to_string();
                let (what, fix) = text.split_once("\n    ").unwrap_or((&text, ""));
                Finding::broken(what, fix)
            };
            return Ok(faults.0.iter().map(broken).collect());
        }
    };
    let mut findings = settings(&loaded);
    let settings = loaded.settings;
    findings.push(folder(&settings));
    match reach::running(&settings) {
        Ok(Some(socket)) => {
            let client = Client::unix(&socket);
            findings.push(Finding::fine(format!("a gateway answers on {}", socket.display())));
            findings.extend(inside(context, &client, true).await);
        }
        Ok(None) => {
            findings.push(port(&settings));
            findings.extend(opened(context, settings).await);
        }
        Err(failure) => findings.push(failed(&failure)),
    }
    Ok(findings)
}

fn settings(loaded: &Loaded) -> Vec<Finding> {
    let file = loaded.file.as_deref().map(|file| file.display().to_string());
    let sound = format!("settings are sound ({})", file.as_deref().unwrap_or("no file"));
    let warnings = loaded.warnings.iter().map(|it| Finding::warning(it, "unset the variable"));
    [Finding::fine(sound)].into_iter().chain(warnings).collect()
}

/// Whether the data folder is there and nobody else's business.
fn folder(settings: &Settings) -> Finding {
    let data = settings.data.display();
    let found = match settings.data.metadata() {
        Ok(found) => found,
        Err(error) => {
            let fix = "'tollhouse start' makes it; or name another with --data DIR";
            let what = match error.kind() {
                io::ErrorKind::NotFound => format!("there is no data folder {data} yet"),
                _ => format!("data folder {data}: {error}"),
            };
            return Finding::warning(what, fix);
        }
    };
    if !found.is_dir() {
        return Finding::broken(format!("{data} is not a folder"), "name another with --data DIR");
    }
    let mode = found.mode() & 0o7777;
    let fix = format!("chmod 700 {data}");
    if mode & 0o022 != 0 {
        return Finding::broken(format!("others may write to {data} ({mode:04o})"), fix);
    }
    if mode & 0o077 != 0 {
        return Finding::warning(format!("others may look into {data} ({mode:04o})"), fix);
    }
    Finding::fine(format!("data folder {data} is private"))
}

/// Whether a gateway could listen.
fn port(settings: &Settings) -> Finding {
    let listen = settings.listen;
    let Err(error) = TcpListener::bind(listen) else {
        return Finding::fine(format!("{listen} is free to listen on"));
    };
    let who =
        holder::of(listen.port()).map_or_else(|| error.to_string(), |it| format!("taken by {it}"));
    Finding::broken(format!("cannot listen on {listen}: {who}"), "choose another with --listen")
}

/// The rooms on the data folder, opened for this look.
async fn opened(context: &Context, settings: Settings) -> Vec<Finding> {
    if !settings.data.is_dir() {
        return Vec::new();
    }
    match reach::open(settings, Folder::MustBeThere).await {
        Ok(office) => {
            let mut findings = vec![Finding::fine("the store opens")];
            findings.extend(inside(context, &Client::unix(office.socket()), true).await);
            if let Err(error) = office.close().await {
                findings.push(failed(&Failure::from(error)));
            }
            findings
        }
        Err(failure) => vec![failed(&failure)],
    }
}

/// Looks at a gateway's store and servers. Programs can only be looked for on its own machine.
async fn inside(context: &Context, client: &Client, is_here: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_here {
        match client.servers().await {
            Ok(servers) => findings.extend(servers.iter().filter_map(|server| {
                let command = server.command.as_deref()?;
                program(context, &server.name, command)
            })),
            Err(error) => return vec![failed(&error.into())],
        }
    }
    // Lists are asked of every server, so that the status after them is of today.
    if let Err(error) = client.tools().await {
        findings.push(failed(&error.into()));
    }
    match client.status().await {
        Ok(status) => {
            findings.push(match (&status.store.reason, status.claimed) {
                (Some(reason), _) => {
                    Finding::broken(format!("store: {reason}"), "see the gateway's log")
                }
                (None, true) => Finding::fine(format!("store {}, claimed", status.store.state)),
                (None, false) => Finding::warning("nobody has claimed it", "run 'tollhouse setup'"),
            });
            findings.extend(status.servers.iter().map(server));
        }
        Err(error) => findings.push(failed(&error.into())),
    }
    findings
}

fn program(context: &Context, server: &str, command: &str) -> Option<Finding> {
    if context.environment.program(command).is_some() {
        return None;
    }
    let fix = "install it, or register the server with its full path";
    Some(Finding::broken(format!("{server}: there is no program {command}"), fix))
}

fn server(server: &crate::client::ServerStatus) -> Finding {
    let name = &server.name;
    if !server.state.is_empty() && server.state != "active" {
        return Finding::fine(format!("{name} is {}", server.state));
    }
    match server.health.as_str() {
        "healthy" => Finding::fine(format!(
            "{name} answers ({} tools)",
            server.tools.map_or_else(|| "?".to_owned(), |tools| tools.to_string())
        )),
        "unhealthy" => {
            let reason = server.last_error.as_deref().unwrap_or("no reason given");
            Finding::broken(
                format!("{name}: {reason}"),
                format!("'tollhouse status', or remove it: tollhouse deregister {name}"),
            )
        }
        other => Finding::warning(format!("{name} is {other}"), "look again in a moment"),
    }
}

fn failed(failure: &Failure) -> Finding {
    let (what, fix) = failure.in_two();
    Finding::broken(what, fix)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Environment, Flags};

    #[test]
    fn a_folder_that_others_may_write_to_is_broken() {
        let data = tempfile::tempdir().expect("a folder");
        let path = data.path().display().to_string();
        let flags = Flags { data: Some(path.clone()), ..Flags::default() };
        let loaded = Settings::load(&flags, &Environment::default(), None).expect("settings");
        let with_mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(data.path(), permissions).expect("our own folder");
            folder(&loaded.settings)
        };

        let open = with_mode(0o770);
        let readable = with_mode(0o750);
        let private = with_mode(0o700);

        assert_eq!(open.verdict, Verdict::Broken);
        assert_eq!(open.fix, Some(format!("chmod 700 {path}")));
        assert_eq!(readable.verdict, Verdict::Warning);
        assert_eq!(private.verdict, Verdict::Fine);
    }

    #[test]
    fn a_sick_server_is_broken_and_one_that_is_off_is_fine() {
        let status = |state: &str, health: &str| {
            let status = serde_json::json!({"name": "a", "state": state, "health": health});
            server(&serde_json::from_value(status).expect("a status")).verdict
        };

        assert_eq!(status("active", "healthy"), Verdict::Fine);
        assert_eq!(status("active", "unhealthy"), Verdict::Broken);
        assert_eq!(status("active", "unknown"), Verdict::Warning);
        assert_eq!(status("inactive", "unhealthy"), Verdict::Fine);
    }
}
