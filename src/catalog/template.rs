//! URI templates (RFC 6570), as far as telling whose a URI is.

/// Whether a URI can have come from a template: the template's fixed parts stand in it, in order.
///
/// Linear in the URI for every template, so that no server can make look-ups slow.
pub(super) fn matches(template: &str, uri: &str) -> bool {
    let mut fixed = Fixed(Some(template));
    let Some(first) = fixed.next() else { return false };
    let Some(mut rest) = uri.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = fixed.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The parts of a template between its expressions.
struct Fixed<'a>(Option<&'a str>);

impl<'a> Iterator for Fixed<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.take()?;
        let Some(open) = rest.find('{') else { return Some(rest) };
        self.0 = rest[open..].find('}').map(|close| &rest[open + close + 1..]);
        Some(&rest[..open])
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn tells_whose_a_uri_is() {
        assert!(matches("test://template/{id}/data", "test://template/7/data"));
        assert!(matches("file:///{+path}", "file:///a/b/c"));
        assert!(matches("a://{x}{?y*}", "a://1?y=2"));
        assert!(matches("a://b", "a://b"));

        assert!(!matches("test://template/{id}/data", "test://template/7"));
        assert!(!matches("test://template/{id}/data", "other://template/7/data"));
        assert!(!matches("a://b", "a://b/c"));
        assert!(!matches("a://{open", "b://x"));
    }

    #[test]
    fn a_hostile_template_costs_no_more_than_reading() {
        let template = "{a}x".repeat(2_000);
        let uri = "x".repeat(100_000);

        assert!(matches(&template, &uri));
    }
}
