//! How deep a message nests.

use memchr::memchr2_iter;

use super::DEPTH_LIMIT;

/// Whether brackets nest no deeper than [`DEPTH_LIMIT`]. Expects valid JSON.
pub(super) fn is_shallow(message: &[u8]) -> bool {
    // Few brackets cannot nest deeply; that settles nearly every message without a second look.
    if memchr2_iter(b'{', b'[', message).nth(DEPTH_LIMIT).is_none() {
        return true;
    }
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut is_escaped = false;
    for byte in message {
        if in_text {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_LIMIT {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_brackets_outside_text() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));

        assert!(is_shallow(nested(DEPTH_LIMIT).as_bytes()));
        assert!(!is_shallow(nested(DEPTH_LIMIT + 1).as_bytes()));
        assert!(is_shallow(format!("[{:?}]", "[".repeat(100)).as_bytes()));
        assert!(is_shallow(format!("[{}1]", "[1],".repeat(100)).as_bytes()));
    }
}
