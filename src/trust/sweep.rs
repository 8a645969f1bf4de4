//! Sweeping: characters that nobody sees, found in a definition and taken out of its texts.
//!
//! Texts for models and people may be written anew without them. What programs go by may not: a
//! name, a value to choose or a pattern would be another one. A definition that hides something
//! there is left out. Everything around stays byte for byte as it was.

use crate::domain::without_unseen;

/// Members whose texts programs go by.
const CODE: [&str; 20] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$ref",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "format",
    "mimeType",
    "name",
    "pattern",
    "required",
    "src",
    "taskSupport",
    "type",
    "uri",
    "uriTemplate",
    "x-mcp-header",
    "sizes",
];
/// Members that hold data, whatever stands in it.
const DATA: [&str; 4] = ["const", "default", "dependentRequired", "enum"];
/// Members that hold schemas under names of any choice.
const NAMES: [&str; 5] =
    ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];
/// What only programs see.
const META: &str = "_meta";

/// Places that are told of in one definition.
const TOLD: usize = 16;

/// What came of sweeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Nothing hides in it.
    Clean,
    /// Something did, in these places.
    Swept {
        /// The same without it.
        json: String,
        /// Where, and what.
        places: Vec<String>,
    },
    /// Something hides here, and cannot be taken out.
    Stuck(String),
}

/// Sweeps the definition of an item: valid JSON.
pub(crate) fn sweep(json: &str) -> Sweep {
    if is_plain(json) {
        return Sweep::Clean;
    }
    let mut broom = Broom { json, at: 0, path: Vec::new(), edits: Vec::new(), places: Vec::new() };
    if broom.value(Place::Words).is_none() {
        return Sweep::Stuck(broom.place());
    }
    let Broom { edits, places, .. } = broom;
    if edits.is_empty() {
        return Sweep::Clean;
    }
    let mut swept = String::with_capacity(json.len());
    let mut copied = 0;
    for (start, end, new) in edits {
        swept.push_str(&json[copied..start]);
        swept.push_str(&new);
        copied = end;
    }
    swept.push_str(&json[copied..]);
    Sweep::Swept { json: swept, places }
}

/// Sweeps a text that stands alone, and says what was in it.
pub(crate) fn sweep_text(place: &str, text: &str) -> Option<(String, String)> {
    let (seen, unseen) = without_unseen(text)?;
    Some((seen, told(place, &unseen)))
}

/// Whether nothing can hide: no character but those of ASCII that are seen, and none as an escape.
fn is_plain(json: &str) -> bool {
    let bytes = json.as_bytes();
    bytes.is_ascii()
        && !bytes.contains(&0x7F)
        && !memchr::memchr_iter(b'\\', bytes)
            .any(|at| bytes.get(at + 1).is_some_and(|next| b"ubfr".contains(next)))
}

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Texts are for people and models.
    Words,
    /// A text here is for programs; objects are as anywhere.
    Code,
    /// Everything here is for programs.
    Data,
    /// Members have names of any choice.
    Names,
}

impl Place {
    fn of(self, member: &str) -> Self {
        match self {
            Self::Data => Self::Data,
            Self::Words | Self::Code if DATA.contains(&member) => Self::Data,
            Self::Words | Self::Code if NAMES.contains(&member) => Self::Names,
            Self::Words | Self::Code if CODE.contains(&member) => Self::Code,
            Self::Names | Self::Words | Self::Code => Self::Words,
        }
    }
}

/// A reader of valid JSON. Its steps give nothing where something hides that must not be touched.
struct Broom<'a> {
    json: &'a str,
    at: usize,
    path: Vec<String>,
    edits: Vec<(usize, usize, String)>,
    places: Vec<String>,
}

impl Broom<'_> {
    fn value(&mut self, place: Place) -> Option<()> {
        match self.peek()? {
            b'{' => self.object(place),
            b'[' => self.list(place),
            b'"' => self.text(place),
            _ => {
                let rest = &self.json.as_bytes()[self.at..];
                let is_end = |c: &u8| b",]} \t\r\n".contains(c);
                self.at += rest.iter().position(is_end).unwrap_or(rest.len());
                Some(())
            }
        }
    }

    fn object(&mut self, place: Place) -> Option<()> {
        self.at += 1;
        while self.peek()? != b'}' {
            let (start, end) = self.span();
            let name: String = serde_json::from_str(&self.json[start..end]).ok()?;
            let is_hiding = without_unseen(&name).is_some();
            let is_meta = self.path.is_empty() && name == META;
            let inner = place.of(&name);
            self.path.push(name);
            if is_hiding {
                return None;
            }
            self.peek()?;
            self.at += 1; // the colon
            if is_meta {
                self.skip()?;
            } else {
                self.value(inner)?;
            }
            self.path.pop();
            self.step_over_comma()?;
        }
        self.at += 1;
        Some(())
    }

    fn list(&mut self, place: Place) -> Option<()> {
        self.at += 1;
        while self.peek()? != b']' {
            self.value(place)?;
            self.step_over_comma()?;
        }
        self.at += 1;
        Some(())
    }

    fn text(&mut self, place: Place) -> Option<()> {
        let (start, end) = self.span();
        let raw = &self.json[start..end];
        if is_plain(raw) {
            return Some(());
        }
        let text: String = serde_json::from_str(raw).ok()?;
        let Some((seen, unseen)) = without_unseen(&text) else { return Some(()) };
        if place != Place::Words {
            return None;
        }
        if self.places.len() < TOLD {
            self.places.push(told(&self.place(), &unseen));
        }
        let quoted = serde_json::to_string(&seen).expect("text is always JSON");
        self.edits.push((start, end, quoted));
        Some(())
    }

    /// Passes a value over.
    fn skip(&mut self) -> Option<()> {
        let before = (self.edits.len(), self.places.len());
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.span()),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                _ => self.value(Place::Words)?,
            }
            if depth == 0 {
                debug_assert!(before == (self.edits.len(), self.places.len()));
                return Some(());
            }
        }
    }

    /// Passes a text over and says where it stood, with its quotes.
    fn span(&mut self) -> (usize, usize) {
        let bytes = self.json.as_bytes();
        let start = self.at;
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
        (start, self.at)
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.json.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|c| !b" \t\r\n".contains(c))?;
        self.json.as_bytes().get(self.at).copied()
    }

    fn step_over_comma(&mut self) -> Option<()> {
        if self.peek()? == b',' {
            self.at += 1;
        }
        Some(())
    }

    fn place(&self) -> String {
        let path: Vec<String> = self
            .path
            .iter()
            .map(|name| name.chars().take(40).flat_map(escaped).collect())
            .collect();
        path.join(".")
    }
}

/// A character as people can read it.
fn escaped(c: char) -> Vec<char> {
    if without_unseen(&c.to_string()).is_some() || c.is_control() {
        c.escape_unicode().collect()
    } else {
        vec![c]
    }
}

/// A place, how many characters hide there, and the first kinds of them.
fn told(place: &str, unseen: &[char]) -> String {
    const KINDS: usize = 4;
    let mut kinds: Vec<char> = Vec::new();
    for c in unseen {
        if !kinds.contains(c) && kinds.len() < KINDS {
            kinds.push(*c);
        }
    }
    let kinds: Vec<String> = kinds.iter().map(|c| format!("U+{:04X}", u32::from(*c))).collect();
    let count = unseen.len();
    let plural = if count == 1 { "" } else { "s" };
    format!("{place} ({count} hidden character{plural}: {})", kinds.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swept(json: &str) -> (String, Vec<String>) {
        match sweep(json) {
            Sweep::Swept { json, places } => (json, places),
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn only_the_texts_that_hide_something_are_written_anew() {
        let tool = "{ \"x\":1.0, \"description\" : \"read\\u200b it\u{E0041}\",\"title\":\"gr\\u00fcn\",\
             \"inputSchema\":{\"properties\":{\"name\":{\"description\":\"a\u{202E}\"}}} }";

        let (left, places) = swept(tool);

        let expected = "{ \"x\":1.0, \"description\" : \"read it\",\"title\":\"gr\\u00fcn\",\
             \"inputSchema\":{\"properties\":{\"name\":{\"description\":\"a\"}}} }";
        assert_eq!(left, expected);
        assert_eq!(
            places,
            [
                "description (2 hidden characters: U+200B U+E0041)",
                "inputSchema.properties.name.description (1 hidden character: U+202E)",
            ]
        );
    }

    #[test]
    fn what_hides_nothing_is_clean() {
        for json in [
            r#"{"name":"a","description":"plain \"quoted\" \\u200b"}"#,
            r#"{"name":"a","description":"gr\u00fcn and 你好\n"}"#,
            r#"{"name":"a","_meta":{"x":["\u200b",{"y\u200b":1}]},"title":"é"}"#,
        ] {
            assert_eq!(sweep(json), Sweep::Clean, "{json}");
        }
    }

    #[test]
    fn what_programs_go_by_is_not_touched() {
        for (json, place) in [
            (r#"{"name":"a\u200b"}"#, "name"),
            (
                r#"{"inputSchema":{"properties":{"a\u200b":{}}}}"#,
                r"inputSchema.properties.a\u{200b}",
            ),
            (r#"{"inputSchema":{"enum":["a",{"b":"\u200b"}]}}"#, "inputSchema.enum.b"),
            (r#"{"inputSchema":{"required":["\u2066"]}}"#, "inputSchema.required"),
            (r#"{"arguments":[{"name":"\u200b"}]}"#, "arguments.name"),
        ] {
            assert_eq!(sweep(json), Sweep::Stuck(place.into()), "{json}");
        }
        // A property may be called like a keyword.
        let (left, _) = swept(r#"{"properties":{"default":{"title":"a\u200b"}}}"#);
        assert_eq!(left, r#"{"properties":{"default":{"title":"a"}}}"#);
    }

    proptest::proptest! {
        #[test]
        fn a_swept_definition_is_clean_and_means_the_same(text in "\\PC{0,20}", hidden in "[\u{200B}\u{E0041}\u{1B}]{0,3}") {
            let json = serde_json::json!({"name": "a", "list": [1, null, {"description": format!("{text}{hidden}{text}")}]});
            let seen = match sweep(&json.to_string()) {
                Sweep::Swept { json, .. } => json,
                Sweep::Clean => json.to_string(),
                Sweep::Stuck(place) => panic!("{place}"),
            };
            let read: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
            let whole = format!("{text}{hidden}{text}");
            let expected = without_unseen(&whole).map_or(whole, |(seen, _)| seen);
            assert_eq!(read["list"][2]["description"], expected);
            assert_eq!(sweep(&seen), Sweep::Clean);
        }
    }
}
