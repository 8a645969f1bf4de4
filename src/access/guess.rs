//! Passwords that are guessed first: a few of the commonest words in a row.
//!
//! Lists of leaked passwords hold little that is as long as ours must be. What people write when
//! they have to write more is the same words again, with digits behind them; so those are taken
//! apart here.

/// Words that passwords are commonly made of, one on a line.
const WORDS: &str = include_str!("guessed.txt");
/// So many different pieces make a password that is found soon.
const FEW: usize = 3;
/// Longer passwords than this are made of more than a few pieces.
const LOOKED_AT: usize = 100;

/// Whether a password in small letters is made of a few common pieces.
pub(super) fn is_guessed(password: &str) -> bool {
    let plain: Vec<char> = password.chars().collect();
    if plain.len() > LOOKED_AT {
        return plain.iter().all(|c| *c == plain[0]);
    }
    let read: Vec<char> = plain.iter().map(|c| letter(*c)).collect();
    pieces(&plain).is_some_and(|count| count <= FEW)
        || pieces(&read).is_some_and(|count| count <= FEW)
}

/// The letter that a digit or sign is written for.
fn letter(c: char) -> char {
    match c {
        '0' => 'o',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        c => c,
    }
}

/// The fewest common pieces that make the whole text; none where it cannot be made of them. A
/// piece that comes again is not counted again.
fn pieces(text: &[char]) -> Option<usize> {
    let mut fewest: Vec<Option<(usize, &[char])>> = vec![None; text.len() + 1];
    fewest[0] = Some((0, &[]));
    for at in 0..text.len() {
        let Some((count, last)) = fewest[at] else { continue };
        for length in lengths(&text[at..]) {
            let piece = &text[at..at + length];
            let is_free = piece == last || piece.iter().all(|c| !c.is_alphanumeric());
            let (total, last) = if is_free { (count, last) } else { (count + 1, piece) };
            let place = &mut fewest[at + length];
            if place.is_none_or(|(best, _)| total < best) {
                *place = Some((total, last));
            }
        }
    }
    fewest[text.len()].map(|(count, _)| count)
}

/// How long the pieces are with which a text may begin.
fn lengths(text: &[char]) -> Vec<usize> {
    let begins = |word: &str| word.chars().zip(text).filter(|(a, b)| a == *b).count();
    let words = WORDS.lines().filter(|word| begins(word) == word.len()).map(str::len);
    let signs = text.iter().take_while(|c| !c.is_alphanumeric()).count().min(1);
    let digits = text.iter().take(4).take_while(|c| c.is_ascii_digit()).count();
    let runs = [0, 1, -1].map(|step| run(text, step)).into_iter().filter(|length| *length >= 3);
    words.chain([signs]).chain(1..=digits).chain(runs).filter(|length| *length > 0).collect()
}

/// How many characters follow each other at this distance: `aaaa`, `abcd`, `4321`.
fn run(text: &[char], step: i32) -> usize {
    let code = |c: char| i32::try_from(u32::from(c)).unwrap_or(i32::MAX / 2);
    let is_next = |pair: &&[char]| code(pair[1]) - code(pair[0]) == step;
    1 + text.windows(2).take_while(is_next).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_common_pieces_in_a_row_are_guessed() {
        for bad in [
            "passwordpassword",
            "password12345678",
            "p@ssw0rd p@ssw0rd!",
            "qwertyuiopasdfghjkl",
            "administrator2026",
            "letmein-letmein-letmein",
            "abcdefghijklmnop",
            "1234567890123456",
            "iloveyou iloveyou 1",
        ] {
            assert!(is_guessed(bad), "{bad}");
        }
    }

    #[test]
    fn other_words_are_not() {
        for good in
            ["correct horse battery staple 9", "my tiger reads old maps at night", "x y x z"]
        {
            assert!(!is_guessed(good), "{good}");
        }
    }
}
