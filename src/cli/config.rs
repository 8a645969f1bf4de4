//! `tollhouse config`: the settings that hold, and whether they are sound.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{Context, Failure, out::Format, table::table};
use crate::config::{Entry, Loaded};

/// Settings.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Config {
    /// Show every setting, as a file that would set it
    #[command(after_help = "Examples:\n  tollhouse config show\n  tollhouse config show --origin")]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Say everything that is wrong with the settings
    #[command(
        alias = "check",
        after_help = "\
Example:
  tollhouse config validate --config ./config.yaml"
    )]
    Validate,
}

pub(super) fn run(context: &Context, config: &Config) -> Result<(), Failure> {
    let loaded = context.settings()?;
    for warning in &loaded.warnings {
        context.out.note(&format!("warning: {warning}"));
    }
    match config {
        Config::Show { origin } => show(context, &loaded, *origin),
        Config::Validate => {
            let file = loaded.file.as_deref().map(|file| file.display().to_string());
            if context.out.format == Format::Json {
                let warnings = &loaded.warnings;
                context.out.json(&json!({"sound": true, "file": file, "warnings": warnings}))?;
            }
            context.out.note(&match file {
                Some(file) => format!("the settings are sound (file {file})"),
                None => "the settings are sound (no file)".to_owned(),
            });
            Ok(())
        }
    }
}

fn show(context: &Context, loaded: &Loaded, has_origin: bool) -> Result<(), Failure> {
    match (context.out.format, has_origin) {
        (Format::Name, _) => {
            loaded.entries.iter().try_for_each(|entry| context.out.line(&entry.key))
        }
        (Format::Json, true) => {
            let entry = |entry: &Entry| {
                let origin = entry.origin.to_string();
                json!({"key": entry.key, "value": entry.value, "origin": origin})
            };
            context.out.json(&loaded.entries.iter().map(entry).collect::<Vec<_>>())
        }
        (Format::Json, false) => context.out.json(&tree(&loaded.entries)),
        (Format::Table, true) => {
            let row = |entry: &Entry| {
                vec![entry.key.clone(), entry.value.to_string(), entry.origin.to_string()]
            };
            let rows = loaded.entries.iter().map(row).collect();
            context.out.line(&table(context.out, &["SETTING", "VALUE", "FROM"], rows))
        }
        (Format::Table, false) => context.out.line(&yaml(&tree(&loaded.entries), 0)),
    }
}

/// The settings in their groups.
fn tree(entries: &[Entry]) -> Value {
    let mut tree = Value::Object(Map::new());
    for entry in entries {
        let place = entry.key.split('.').fold(&mut tree, |tree, name| &mut tree[name]);
        *place = entry.value.clone();
    }
    tree
}

/// Groups of plain values as YAML, in which every JSON value is at home.
fn yaml(tree: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let line = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => format!("{indent}{name}:\n{}", yaml(value, depth + 1)),
        plain => format!("{indent}{name}: {plain}"),
    };
    tree.as_object().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, File, Flags, Settings};

    #[test]
    fn what_is_shown_would_set_the_same() {
        let environment =
            Environment::from([("HOME", "/home/ana"), ("TOLLHOUSE_DRAIN_SECONDS", "3")]);
        let loaded = Settings::load(&Flags::default(), &environment, None).expect("settings");

        let text = yaml(&tree(&loaded.entries), 0);

        let file = File { path: "/c.yaml".into(), text };
        let again = Settings::load(&Flags::default(), &Environment::default(), Some(&file));
        assert_eq!(tree(&again.expect("settings").entries), tree(&loaded.entries));
    }
}
