//! Definitions: from a file, from flags, or from both.

use std::io::Read as _;

use serde_json::{Map, Value};

use super::Failure;

/// The largest definition that is read, in bytes.
const BYTES_LIMIT: u64 = 1 << 20;

/// A definition that stands in a file, if one is named, with what flags say in its place. `fix`
/// tells whoever says nothing what could be said.
pub(super) fn definition(
    file: Option<&str>,
    flags: impl IntoIterator<Item = (&'static str, Option<Value>)>,
    fix: &str,
) -> Result<Value, Failure> {
    let mut said = match file {
        None => Map::new(),
        Some(file) => match read(file)? {
            Value::Object(said) => said,
            _ => unreachable!("what is read is an object"),
        },
    };
    let flags = flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    said.extend(flags);
    if said.is_empty() {
        return Err(Failure::misuse("nothing is to be changed", fix));
    }
    Ok(said.into())
}

/// A definition out of a file, in JSON or YAML.
pub(super) fn read(file: &str) -> Result<Value, Failure> {
    let mut text = String::new();
    let read = if file == "-" {
        std::io::stdin().lock().take(BYTES_LIMIT + 1).read_to_string(&mut text)
    } else {
        let opened = std::fs::File::open(file);
        opened.and_then(|file| file.take(BYTES_LIMIT + 1).read_to_string(&mut text))
    };
    let read = read.map_err(|error| {
        Failure::new(format!("{file} cannot be read"), error.to_string())
            .with_fix("name a file that holds a definition, in JSON or YAML")
    })?;
    if read as u64 > BYTES_LIMIT {
        return Err(Failure::new(format!("{file} is no definition"), "it is larger than 1 MiB"));
    }
    // JSON first: it is what the API shows, and its errors name the place.
    let is_json = text.trim_start().starts_with('{');
    let value: Result<Value, String> = if is_json {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.without_snippet().to_string())
    };
    match value {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => {
            Err(Failure::misuse(format!("{file} is no definition"), "it is no group of members"))
        }
        Err(error) => Err(Failure::misuse(format!("{file} is neither JSON nor YAML"), error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_is_json_or_yaml() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |text: &str| {
            let file = folder.path().join("policy");
            std::fs::write(&file, text).expect("writable");
            read(file.to_str().expect("a plain path"))
        };
        let policy = json!({"name": "a", "conditions": {"tool.name": ["x"]}, "priority": 7});

        assert_eq!(file(&policy.to_string()), Ok(policy.clone()));
        let yaml = "name: a\nconditions:\n  tool.name: [x]\npriority: 7\n";
        assert_eq!(file(yaml), Ok(policy));
        for odd in ["[]", "just text", "{\"a\":", "a: [1"] {
            assert!(file(odd).is_err(), "{odd}");
        }
    }
}
