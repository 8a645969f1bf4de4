//! `tollhouse tools`: what the gateway offers, and trying it.

use std::io::Read;

use clap::Subcommand;
use serde_json::{Value, value::RawValue};

use super::{
    Context, Failure, arguments,
    out::Format,
    reach::reach,
    table::{brief, table},
};
use crate::{
    app::Folder,
    client::{CallResult, Client, Missing, Tool},
    config::nearest,
};

/// Bytes read as the arguments of a call.
const ARGUMENTS_BYTES: u64 = 16 << 20;
/// Characters of a description in a list.
const DESCRIPTION_LENGTH: usize = 100;

/// Tools on offer.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Tools {
    /// List the tools
    #[command(alias = "ls", after_help = "Example:\n  tollhouse tools list -o name")]
    List,
    /// Show a tool and its arguments
    #[command(after_help = "Example:\n  tollhouse tools show time__convert_time")]
    Show {
        /// Name, as listed
        name: String,
    },
    /// Call a tool
    #[command(after_help = "\
Arguments are read as the tool's schema says; k:=JSON is taken as it is.

Examples:
  tollhouse tools call time__get_current_time timezone=Europe/Vienna
  tollhouse tools call files__read_many paths:='[\"a\",\"b\"]'
  tollhouse tools call db__query --json - < query.json")]
    Call {
        /// Name, as listed
        name: String,
        /// Arguments
        #[arg(value_name = "K=V")]
        pairs: Vec<String>,
        /// All arguments as one JSON object; - reads it from standard input
        #[arg(long, value_name = "JSON|FILE|-", conflicts_with = "pairs")]
        json: Option<String>,
    },
}

pub(super) async fn run(context: &Context, tools: Tools) -> Result<(), Failure> {
    reach(context, Folder::MustBeThere, async |client| match tools {
        Tools::List => list(context, client).await,
        Tools::Show { name } => show(context, client, &name).await,
        Tools::Call { name, pairs, json } => {
            let arguments = match json {
                Some(json) => whole(&json)?,
                None if arguments::need_schema(&pairs) => {
                    let tool = find(client, &name).await?;
                    arguments::object(&pairs, Some(&tool.input_schema))?
                }
                None => arguments::object(&pairs, None)?,
            };
            print(context, &name, &client.call(&name, &arguments).await?)
        }
    })
    .await
}

async fn list(context: &Context, client: &Client) -> Result<(), Failure> {
    let found = client.tools().await?;
    context.out.many(
        &found.tools,
        |tool| &tool.name,
        &["NAME", "DESCRIPTION"],
        |tool| {
            let description = tool.description.as_deref().unwrap_or_default();
            vec![tool.name.clone(), brief(description, DESCRIPTION_LENGTH)]
        },
    )?;
    note_missing(context, &found.missing);
    Ok(())
}

/// Missing servers that are named one by one.
const MISSING: usize = 20;

fn note_missing(context: &Context, missing: &[Missing]) {
    for Missing { server, reason } in missing.iter().take(MISSING) {
        context.out.note(&context.out.tame(&format!("! {server} is missing: {reason}")));
    }
    if let Some(more) = missing.len().checked_sub(MISSING).filter(|more| *more > 0) {
        context.out.note(&format!("! and {more} more are missing: 'tollhouse status' shows them"));
    }
}

async fn show(context: &Context, client: &Client, name: &str) -> Result<(), Failure> {
    let tool = find(client, name).await?;
    match context.out.format {
        Format::Json => return context.out.json(&tool),
        Format::Name => return context.out.line(&tool.name),
        Format::Table => {}
    }
    context.out.line(&context.out.tame(&tool.name))?;
    for text in [&tool.title, &tool.description].into_iter().flatten() {
        context.out.line(&context.out.tame(text.trim()))?;
    }
    let rows = arguments::described(&tool);
    if rows.is_empty() {
        return context.out.line("\nIt takes no arguments.");
    }
    let headings = ["ARGUMENT", "TYPE", "REQUIRED", "DESCRIPTION"];
    context.out.line(&format!("\n{}", table(context.out, &headings, rows)))
}

async fn find(client: &Client, name: &str) -> Result<Tool, Failure> {
    let found = client.tools().await?;
    if let Some(tool) = found.tools.iter().find(|tool| tool.name == name) {
        return Ok(tool.clone());
    }
    let names = found.tools.iter().map(|tool| tool.name.as_str());
    let fix = match nearest(name, names) {
        Some(near) => format!("did you mean {near}?"),
        None => "'tollhouse tools list' shows what there is".to_owned(),
    };
    let missing: Vec<&str> = found.missing.iter().map(|it| it.server.as_str()).collect();
    let why = if missing.is_empty() {
        "no server offers it, or this key may not use it".to_owned()
    } else {
        format!("no server that answers offers it; missing: {}", missing.join(", "))
    };
    Err(Failure::new(format!("there is no tool {name}"), why).with_fix(fix))
}

/// The object that was given: as text, as a file, or on standard input.
fn whole(json: &str) -> Result<Box<RawValue>, Failure> {
    let mut text = String::new();
    let read = match json {
        text if text.trim_start().starts_with('{') => Ok(text.to_owned()),
        "-" => {
            std::io::stdin().lock().take(ARGUMENTS_BYTES).read_to_string(&mut text).map(|_| text)
        }
        path => std::fs::read_to_string(path),
    };
    let what = "the arguments cannot be read";
    let text = read.map_err(|error| Failure::misuse(what, format!("{json}: {error}")));
    let text = text.map_err(|failure| failure.with_fix("give a JSON object, a file, or -"))?;
    let object: Result<Box<RawValue>, _> = serde_json::from_str(&text);
    let why = match object {
        Ok(object) if object.get().starts_with('{') => return Ok(object),
        Ok(_) => "they are not an object".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::misuse(what, why).with_fix("write them as {\"name\": value}"))
}

fn print(context: &Context, name: &str, result: &CallResult) -> Result<(), Failure> {
    if context.out.format == Format::Json {
        context.out.line(&context.out.tame(result.raw.get()))?;
    } else {
        let blocks = result.content.iter().map(block).collect::<Vec<_>>();
        let text = match (&result.structured, blocks.is_empty()) {
            (Some(structured), true) => format!("{structured:#}"),
            _ => blocks.join("\n"),
        };
        context.out.line(&context.out.tame(&text))?;
    }
    if !result.is_complete {
        return Err(Failure::new(format!("{name} asks for something first"), "it is interactive")
            .with_fix("call it from a client that can answer"));
    }
    if result.is_error {
        return Err(Failure::new(format!("{name} could not do it"), "its answer says why")
            .with_fix(format!("'tollhouse tools show {name}' lists its arguments")));
    }
    Ok(())
}

/// A block of content: text as it is, everything else in a few words.
fn block(block: &Value) -> String {
    let text = |place: &Value, name: &str| {
        place.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let bytes = |place: &Value, name: &str| text(place, name).trim_end_matches('=').len() * 3 / 4;
    match block.get("type").and_then(Value::as_str).unwrap_or_default() {
        "text" => text(block, "text"),
        kind @ ("image" | "audio") => {
            format!("[{kind} {}, {} bytes]", text(block, "mimeType"), bytes(block, "data"))
        }
        "resource_link" => format!("[link {}]", text(block, "uri")),
        "resource" => {
            let resource = &block["resource"];
            match resource.get("text").and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => format!("[{}, {} bytes]", text(resource, "uri"), bytes(resource, "blob")),
            }
        }
        other => format!("[{other}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn content_is_shown_as_text_or_described() {
        let cases = [
            (json!({"type": "text", "text": "hi"}), "hi"),
            (
                json!({"type": "image", "mimeType": "image/png", "data": "AAAA"}),
                "[image image/png, 3 bytes]",
            ),
            (json!({"type": "resource", "resource": {"uri": "a:b", "text": "in"}}), "in"),
            (
                json!({"type": "resource", "resource": {"uri": "a:b", "blob": "AA=="}}),
                "[a:b, 1 bytes]",
            ),
            (json!({"type": "resource_link", "uri": "a:c"}), "[link a:c]"),
            (json!({"type": "new"}), "[new]"),
        ];

        for (given, shown) in cases {
            assert_eq!(block(&given), shown);
        }
    }

    #[test]
    fn whole_arguments_are_an_object_with_every_digit() {
        let object = whole(r#"{"n":18446744073709551616.000}"#).expect("an object");

        assert_eq!(object.get(), r#"{"n":18446744073709551616.000}"#);
        assert!(whole("{1}").is_err());
        assert!(whole("/nonexistent").is_err());
    }
}
