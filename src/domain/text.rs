//! Text that others wrote: which of its characters are not what a person sees.

/// Whether a character could steer a terminal, break a line of a log, stay unseen, or turn around
/// what stands beside it.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{AD}'
                | '\u{61C}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_languages_are_seen() {
        assert!(!"Grüße, 你好, नमस्ते, שלום, 👍🏽\u{FE0F}".contains(is_hidden));
    }

    #[test]
    fn what_steers_or_disguises_is_hidden() {
        for c in ['\n', '\u{1B}', '\u{9B}', '\u{2028}', '\u{202E}', '\u{200B}', '\u{E0041}'] {
            assert!(is_hidden(c), "{}", c.escape_unicode());
        }
    }
}
