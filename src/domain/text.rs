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

/// The text without what nobody sees in it, and what that was; none where everything is seen.
///
/// Text for models is read by machines that see every code point, and reviewed by people who do
/// not. What goes is: controls (but line ends and tabs), tags, marks that turn the direction of
/// writing, what has no width, fillers that look like nothing, and selectors of variants that
/// select none. What stays is what a script or an emoji needs: joiners between letters of scripts
/// that join, or between emoji, and one selector after what has variants.
#[must_use]
pub fn without_unseen(text: &str) -> Option<(String, Vec<char>)> {
    // Nearly all text is plain.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\n' || byte == b'\t') {
        return None;
    }
    let mut seen = String::with_capacity(text.len());
    let mut unseen = Vec::new();
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if is_unseen(before, c, rest.peek().copied()) {
            unseen.push(c);
        } else {
            seen.push(c);
            before = Some(c);
        }
    }
    (!unseen.is_empty()).then_some((seen, unseen))
}

/// Whether nobody sees a character that stands between these two.
fn is_unseen(before: Option<char>, c: char, after: Option<char>) -> bool {
    match c {
        // Lines end so; the last two are seen as ends of lines too.
        '\n' | '\t' | '\u{2028}' | '\u{2029}' => false,
        // Half of a line end as Windows writes it.
        '\r' => after != Some('\n'),
        '\u{200C}' => !(before.is_some_and(joins) && after.is_some_and(joins)),
        '\u{200D}' => {
            let is_word = before.is_some_and(joins) && after.is_some_and(joins);
            let is_emoji = before.is_some_and(ends_emoji) && after.is_some_and(is_pictograph);
            !is_word && !is_emoji
        }
        '\u{FE00}'..='\u{FE0F}' => !before.is_some_and(has_variants),
        '\u{E0100}'..='\u{E01EF}' => !before.is_some_and(is_ideograph),
        '\u{180B}'..='\u{180D}' | '\u{180F}' => {
            !before.is_some_and(|c| matches!(c, '\u{1820}'..='\u{18AA}'))
        }
        // Fillers and blanks that are letters to a machine.
        '\u{34F}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{3164}'
        | '\u{FFA0}'
        | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0080}'..='\u{E00FF}'
        | '\u{E01F0}'..='\u{E0FFF}' => true,
        _ => is_hidden(c),
    }
}

/// Whether a letter or mark is of a script that is written with joiners: Arabic and its kin, the
/// scripts of India and their kin, Mongolian.
fn joins(c: char) -> bool {
    matches!(
        c,
        '\u{620}'..='\u{65F}'
            | '\u{66E}'..='\u{6EF}'
            | '\u{6FA}'..='\u{8FF}'
            | '\u{900}'..='\u{DFF}'
            | '\u{F00}'..='\u{FFF}'
            | '\u{1000}'..='\u{109F}'
            | '\u{1780}'..='\u{17B3}'
            | '\u{17B6}'..='\u{17DD}'
            | '\u{1820}'..='\u{18AA}'
            | '\u{1A20}'..='\u{1AAD}'
            | '\u{1B00}'..='\u{1BFF}'
            | '\u{A840}'..='\u{A8FF}'
            | '\u{A980}'..='\u{A9DF}'
            | '\u{FB50}'..='\u{FDFF}'
            | '\u{FE70}'..='\u{FEFC}'
            | '\u{11000}'..='\u{11FFF}'
    )
}

/// Whether a character is a picture, alone or as a part of one.
fn is_pictograph(c: char) -> bool {
    matches!(
        c,
        '\u{A9}' | '\u{AE}' | '\u{203C}' | '\u{2049}' | '\u{2122}' | '\u{2139}'
            | '\u{2190}'..='\u{21FF}'
            | '\u{2300}'..='\u{23FF}'
            | '\u{24C2}'
            | '\u{25A0}'..='\u{27BF}'
            | '\u{2934}'..='\u{2935}'
            | '\u{2B00}'..='\u{2BFF}'
            | '\u{3030}' | '\u{303D}' | '\u{3297}' | '\u{3299}'
            | '\u{1F000}'..='\u{1FAFF}'
    )
}

/// Whether a picture may end with it: the picture itself, its selector, or a tone of skin.
fn ends_emoji(c: char) -> bool {
    c == '\u{FE0F}' || is_pictograph(c)
}

fn is_ideograph(c: char) -> bool {
    matches!(
        c,
        '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
            | '\u{20000}'..='\u{3FFFF}'
    )
}

/// Whether a character may have variants. Plain letters and spaces have none, and a selector has
/// none of its own.
fn has_variants(c: char) -> bool {
    let is_selector = matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}');
    // A digit with a selector begins a key cap.
    let is_key = c.is_ascii_digit() || c == '#' || c == '*';
    !is_selector && !c.is_whitespace() && (is_key || !c.is_ascii())
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

    #[test]
    fn what_people_write_is_left_as_it_is() {
        for text in [
            "plain\n\tand indented",
            "Windows\r\nwrites so",
            "Grüße, 你好, नमस्ते, שלום",
            "می\u{200C}خواهم",
            "क्\u{200D}ष",
            "👩🏽\u{200D}💻 👨\u{200D}👩\u{200D}👧 🏳\u{FE0F}\u{200D}🌈 ❤\u{FE0F}\u{200D}🔥",
            "1\u{FE0F}\u{20E3} ☎\u{FE0E}",
            "葛\u{E0100}",
        ] {
            assert_eq!(without_unseen(text), None, "{}", text.escape_unicode());
        }
    }

    #[test]
    fn what_nobody_sees_goes() {
        for (text, seen, count) in [
            ("read\u{E0001}\u{E0069}\u{E0067}\u{E007F} it", "read it", 4),
            ("a\u{202E}b\u{2066}c\u{200F}", "abc", 3),
            ("ig\u{200B}no\u{200D}re\u{200C}\u{2060}\u{FEFF}", "ignore", 5),
            ("a\u{1B}[2Jb\u{9B}c\rd\u{7F}", "a[2Jbcd", 4),
            ("😀\u{FE01}\u{FE02}\u{E0103}", "😀\u{FE01}", 2),
            ("a\u{FE0F}b \u{FE0F}", "ab ", 2),
            ("x\u{3164}y\u{115F}\u{AD}", "xy", 3),
            ("می\u{200C}\u{200C}خ", "می\u{200C}خ", 1),
        ] {
            let (left, unseen) = without_unseen(text).expect("something hidden");
            assert_eq!((left.as_str(), unseen.len()), (seen, count), "{}", text.escape_unicode());
        }
    }
}
