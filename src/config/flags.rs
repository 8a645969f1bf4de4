//! What the command line says of settings.

use serde_json::Value;

use super::{Origin, ledger::Ledger, listen};

/// Settings from the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `--config`
    pub(crate) config: Option<String>,
    /// `--data`
    pub(crate) data: Option<String>,
    /// `--listen`
    pub(crate) listen: Option<String>,
    /// `--host`
    pub(crate) host: Option<String>,
    /// `--port`
    pub(crate) port: Option<u16>,
    /// `--sync`
    pub(crate) sync: bool,
}

impl Flags {
    pub(super) fn enter(&self, ledger: &mut Ledger) {
        let mut enter = |key, text: &Option<String>, flag| {
            if let Some(text) = text {
                ledger.enter(key, &Value::from(text.as_str()), Origin::Flag(flag));
            }
        };
        enter("data", &self.data, "--data");
        enter("listen", &self.listen, "--listen");
        if self.sync {
            ledger.enter("registry.discovery.sync", &Value::from(true), Origin::Flag("--sync"));
        }
        let so_far = |ledger: &Ledger| {
            ledger.value("listen").and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        if let Some(host) = &self.host {
            let address = listen::with_host(&so_far(ledger), host);
            ledger.enter("listen", &Value::from(address), Origin::Flag("--host"));
        }
        if let Some(port) = self.port {
            let address = listen::with_port(&so_far(ledger), &port.to_string());
            ledger.enter("listen", &Value::from(address), Origin::Flag("--port"));
        }
    }
}
