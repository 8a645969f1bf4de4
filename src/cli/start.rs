//! `tollhouse start`: serves until told to stop.

use std::{io, net::SocketAddr};

use clap::Args;

use super::{Context, Failure, holder, out::say};
use crate::{
    app::{self, Welcome},
    config::Settings,
};

/// Starts the gateway.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  tollhouse start
  tollhouse start --data ./data --listen 127.0.0.1:9000")]
pub(super) struct Start {
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT", conflicts_with_all = ["host", "port"])]
    pub(super) listen: Option<String>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    pub(super) host: Option<String>,
    /// Port to listen on
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// Look at the sources of servers in registry.discovery, now and again and again
    #[arg(long)]
    pub(super) sync: bool,
}

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let loaded = context.settings()?;
    for warning in &loaded.warnings {
        context.out.note(&format!("warning: {warning}"));
    }
    let settings = loaded.settings;
    let listen = settings.listen;
    let greeted = settings.clone();
    let announce = |welcome: Welcome| {
        if !context.out.is_quiet {
            say(&greeting(context, &greeted, &welcome));
        }
    };
    app::serve(settings, announce).await.map_err(|error| not_started(error, listen))
}

/// What a person needs next.
fn greeting(context: &Context, settings: &Settings, welcome: &Welcome) -> String {
    let url = format!("{}/mcp", settings.url(welcome.address));
    let data = context.data_flag(settings);
    let version = env!("CARGO_PKG_VERSION");
    let place = welcome.data.display();
    let mut lines = vec![format!("tollhouse {version} serves on {url} (data in {place})")];
    if !welcome.is_claimed {
        lines.push("\nNobody has claimed it yet. In another terminal:".to_owned());
        lines.push(format!("  tollhouse setup{data} --username admin"));
    }
    let header = if welcome.is_open { "" } else { " --header \"Authorization: Bearer KEY\"" };
    lines.push("\nConnect Claude Code:".to_owned());
    lines.push(format!("  claude mcp add --transport http tollhouse {url}{header}"));
    lines.push(format!("Other clients: Streamable HTTP at {url}{}", header.replace(" --", ", ")));
    lines.push(format!("Add a server:  tollhouse register{data} time -- uvx mcp-server-time"));
    if welcome.is_open {
        let warning = "\nIt asks for no key: every program on this machine may use its tools.";
        lines.push(warning.to_owned());
    }
    lines.join("\n")
}

fn not_started(error: anyhow::Error, listen: SocketAddr) -> Failure {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    let failure = match cause.map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse) => {
            let why = match holder::of(listen.port()) {
                Some(holder) => format!("port {} is taken by {holder}", listen.port()),
                None => format!("port {} is taken", listen.port()),
            };
            return Failure::new(format!("the gateway cannot listen on {listen}"), why)
                .with_fix("choose another with --listen ADDR:PORT, or end the other program");
        }
        Some(io::ErrorKind::AddrNotAvailable) => Failure::from(error)
            .with_fix("listen on an address that this machine has, such as 127.0.0.1:8080"),
        Some(io::ErrorKind::PermissionDenied) => Failure::from(error)
            .with_fix("use a port from 1024, and a data folder that this user may write"),
        _ => Failure::from(error),
    };
    failure.while_trying("the gateway did not start, or did not end well")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{Command, Format, Out},
        config::Environment,
    };

    #[test]
    fn a_new_gateway_says_how_to_claim_it_and_how_to_connect() {
        let environment = Environment::from([("HOME", "/home/ana")]);
        let words = ["tollhouse", "start", "--data", "/d"];
        let command = clap::Parser::try_parse_from(words).expect("a command");
        let out = Out::new(Format::Table, false, &environment);
        let context = Context::new(&command as &Command, environment, out);
        let settings = context.settings().expect("settings").settings;
        let address = SocketAddr::from(([0, 0, 0, 0], 9_000));
        let welcome =
            |is_claimed, is_open| Welcome { address, is_claimed, data: "/d".into(), is_open };

        let new = greeting(&context, &settings, &welcome(false, false));
        let open = greeting(&context, &settings, &welcome(true, true));

        let connect = "  claude mcp add --transport http tollhouse http://127.0.0.1:9000/mcp \
            --header \"Authorization: Bearer KEY\"\n";
        assert!(new.contains("  tollhouse setup --data /d --username admin\n"), "{new}");
        assert!(new.contains(connect), "{new}");
        assert!(!open.contains("setup") && !open.contains("Bearer"), "{open}");
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = listener.local_addr().expect("an address");
        let error = std::net::TcpListener::bind(listen).expect_err("it is taken");

        let failure = not_started(anyhow::Error::from(error).context("no door"), listen);

        let pid = std::process::id();
        let said = failure.to_string();
        assert!(said.contains(&format!("port {} is taken by", listen.port())), "{said}");
        assert!(!cfg!(target_os = "linux") || said.contains(&format!("(pid {pid})")), "{said}");
    }
}
