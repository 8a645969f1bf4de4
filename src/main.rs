//! The binary: everything is in the library.

use std::{io::Write, process::ExitCode};

use tollhouse::{app, cli};

/// The first argument of the process that watches over a child; people never write it.
const WARDEN: &str = "--warden";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    // Nothing of the house may run in a warden, so it turns off first.
    if words.nth(1).is_some_and(|first| first == WARDEN) {
        return app::warden(words);
    }
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(code) => return code,
    };
    app::forbid_core_dumps();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(command)),
        Err(error) => {
            let text = format!(
                "error: the runtime does not start\n  why: {error}\n  fix: free memory or raise the limit of threads"
            );
            // When standard error is gone too, the exit code must do.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
            ExitCode::FAILURE
        }
    }
}
