//! JSON in one form only, so that equal definitions have equal digests.
//!
//! As RFC 8785 has it: no spaces, members in the order of their names in UTF-16, the shortest
//! escapes and numbers. Unlike there, a name that stands twice stays twice, in the order written:
//! readers differ in which of the two they take, so each of them counts.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::Number;

/// A value with every member it was written with.
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// An object in canonical form, without these of its members; none where the text is no object.
#[must_use]
pub fn canonical(object: &str, without: &[&str]) -> Option<String> {
    let Node::Object(mut members) = serde_json::from_str(object).ok()? else { return None };
    members.retain(|(name, _)| !without.contains(&&**name));
    serde_json::to_string(&Node::Object(members)).ok()
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(nodes) => {
                let mut list = serializer.serialize_seq(Some(nodes.len()))?;
                nodes.iter().try_for_each(|node| list.serialize_element(node))?;
                list.end()
            }
            Self::Object(members) => {
                let mut sorted: Vec<&(String, Self)> = members.iter().collect();
                // Stable, so that those of one name keep their order.
                sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                sorted.iter().try_for_each(|(name, node)| map.serialize_entry(name, node))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
                Ok(Node::Bool(truth))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
                Ok(Node::Number(number.into()))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Node, E> {
                let number = Number::from_f64(number).ok_or_else(|| E::custom("no number"))?;
                Ok(Node::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = list.next_element()? {
                    nodes.push(node);
                }
                Ok(Node::List(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Node::Object(members))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn what_means_the_same_is_written_the_same() {
        let one = r#"{ "b" : [1.0, 2, {"z":1,"a":null}], "a" : "\u00e9\u000a" }"#;
        let other = "{\"a\":\"é\\n\",\"b\":[1.0,2,{\"a\":null,\"z\":1}]}";

        assert_eq!(canonical(one, &[]).as_deref(), Some(other));
        assert_eq!(canonical(other, &[]).as_deref(), Some(other));
    }

    #[test]
    fn members_stand_in_the_order_of_utf_16() {
        // U+FB33 comes before U+1F600 as a code point, and after its first surrogate.
        let text = "{\"\u{FB33}\":1,\"\u{1F600}\":2}";

        let sorted = canonical(text, &[]).expect("an object");

        assert_eq!(sorted, "{\"\u{1F600}\":2,\"\u{FB33}\":1}");
    }

    #[test]
    fn a_member_that_stands_twice_counts_twice() {
        let twice = canonical(r#"{"x":1,"description":"a","description":"b"}"#, &[]);

        assert_eq!(twice.as_deref(), Some(r#"{"description":"a","description":"b","x":1}"#));
    }

    #[test]
    fn leaves_out_what_does_not_count() {
        let text = r#"{"name":"a","_meta":{"x":1},"y":{"_meta":2}}"#;

        assert_eq!(canonical(text, &["_meta"]).as_deref(), Some(r#"{"name":"a","y":{"_meta":2}}"#));
        assert_eq!(canonical("[1]", &[]), None);
    }
}
