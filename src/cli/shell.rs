//! `tollhouse completions` and `tollhouse man`: the command line, for shells and for `man`.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Command, Context, Failure};

/// Words that a shell completes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  tollhouse completions bash > /etc/bash_completion.d/tollhouse
  tollhouse completions zsh > ~/.zfunc/_tollhouse
  tollhouse completions fish > ~/.config/fish/completions/tollhouse.fish")]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

/// Manual pages.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  tollhouse man ~/.local/share/man/man1 && man tollhouse-route")]
pub(super) struct Man {
    /// Folder in which a page is written for each command; without it, the first goes to the output
    folder: Option<PathBuf>,
}

pub(super) fn completions(wanted: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(wanted.shell, &mut Command::command(), "tollhouse", &mut script);
    print(&script)
}

pub(super) fn man(context: &Context, wanted: &Man) -> Result<(), Failure> {
    let command = Command::command();
    let Some(folder) = &wanted.folder else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        rendered.map_err(|error| Failure::new("the page cannot be written", error.to_string()))?;
        return print(&page);
    };
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.map_err(|error| {
        let what = format!("the pages cannot be written to {}", folder.display());
        Failure::new(what, error.to_string()).with_fix("name a folder that can be written")
    })?;
    context.out.note(&format!("wrote the pages to {}", folder.display()));
    Ok(())
}

/// Prints what is no line of text.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        // Whoever reads it may have seen enough of it.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::new("it cannot be written", error.to_string())),
    }
}
