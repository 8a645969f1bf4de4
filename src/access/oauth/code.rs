//! Codes: what a browser carries from consent to the client, good once and for a minute.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;

use crate::{
    access::oauth::{Authorization, Error},
    domain::{Timestamp, UserId},
};

/// Codes that were given, by their HMAC.
#[derive(Default)]
pub(super) struct Codes(Mutex<HashMap<[u8; 32], Code>>);

/// What a code stands for.
struct Code {
    user: UserId,
    given_at: Timestamp,
    state: State,
}

enum State {
    /// Nobody came with it yet.
    Fresh(Box<Authorization>),
    /// Somebody did.
    Used,
    /// Somebody did, and somebody once more.
    UsedTwice,
}

impl Codes {
    /// Keeps a code that is given now.
    pub(super) fn give(
        &self,
        digest: [u8; 32],
        (user, asked): (UserId, Authorization),
        now: Timestamp,
        (life, max, max_per_user): (Duration, usize, usize),
    ) -> Result<(), Error> {
        let mut codes = self.0.lock();
        codes.retain(|_, code| code.given_at.after(life) > now);
        let mut own: Vec<_> = codes.iter().filter(|(_, code)| code.user == user).collect();
        own.sort_by_key(|(_, code)| code.given_at);
        let crowd = (own.len() + 1).saturating_sub(max_per_user);
        let crowd: Vec<[u8; 32]> = own.iter().take(crowd).map(|(digest, _)| **digest).collect();
        for digest in crowd {
            codes.remove(&digest);
        }
        if codes.len() >= max {
            return Err(Error::Busy);
        }
        let state = State::Fresh(Box::new(asked));
        codes.insert(digest, Code { user, given_at: now, state });
        Ok(())
    }

    /// Takes what a code stands for: once, whatever becomes of it.
    pub(super) fn take(
        &self,
        digest: &[u8; 32],
        now: Timestamp,
        life: Duration,
    ) -> Option<(UserId, Authorization)> {
        let mut codes = self.0.lock();
        let code = codes.get_mut(digest)?;
        let next =
            if matches!(code.state, State::Fresh(_)) { State::Used } else { State::UsedTwice };
        match std::mem::replace(&mut code.state, next) {
            State::Fresh(asked) if code.given_at.after(life) > now => Some((code.user, *asked)),
            _ => None,
        }
    }

    /// Whether somebody came with a code a second time.
    pub(super) fn is_used_twice(&self, digest: &[u8; 32]) -> bool {
        self.0.lock().get(digest).is_some_and(|code| matches!(code.state, State::UsedTwice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TokenScopes;

    const LIFE: Duration = Duration::from_mins(1);
    const USER: UserId = UserId::fixed(7);

    fn asked() -> Authorization {
        Authorization {
            client: "c".into(),
            name: "App".into(),
            redirect: "https://app.test/cb".into(),
            challenge: "x".into(),
            resource: "https://a.test/mcp".into(),
            scopes: TokenScopes::all(),
        }
    }

    fn give(codes: &Codes, number: u8, at: i64, limits: (usize, usize)) -> bool {
        let now = Timestamp::from_ms(at);
        codes.give([number; 32], (USER, asked()), now, (LIFE, limits.0, limits.1)).is_ok()
    }

    fn take(codes: &Codes, number: u8, at: i64) -> bool {
        codes.take(&[number; 32], Timestamp::from_ms(at), LIFE).is_some()
    }

    #[test]
    fn a_code_is_good_once() {
        let codes = Codes::default();
        assert!(give(&codes, 1, 0, (10, 10)));

        assert!(!take(&codes, 2, 0));
        assert!(take(&codes, 1, 0) && !codes.is_used_twice(&[1; 32]));
        assert!(!take(&codes, 1, 0) && codes.is_used_twice(&[1; 32]));
    }

    #[test]
    fn a_code_is_over_after_a_minute() {
        let codes = Codes::default();
        assert!(give(&codes, 1, 0, (10, 10)) && give(&codes, 2, 0, (10, 10)));

        assert!(take(&codes, 1, 59_999));
        assert!(!take(&codes, 2, 60_000));
    }

    #[test]
    fn there_are_so_many_codes_and_no_more() {
        let codes = Codes::default();
        assert!(give(&codes, 1, 0, (3, 2)) && give(&codes, 2, 1, (3, 2)));
        assert!(give(&codes, 3, 2, (3, 2)), "the oldest of the person's makes room");

        assert!(!take(&codes, 1, 3) && take(&codes, 3, 3));
        let other = (UserId::fixed(8), asked());
        let now = Timestamp::from_ms(3);
        assert!(codes.give([4; 32], other.clone(), now, (LIFE, 2, 2)).is_err());
        let later = Timestamp::from_ms(60_002);
        assert!(codes.give([4; 32], other, later, (LIFE, 2, 2)).is_ok());
    }
}
