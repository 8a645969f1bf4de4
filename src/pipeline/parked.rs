//! Parked calls: a server of an older revision asked something in the middle of a call, and a
//! client of today's makes the call again to answer. The same call goes on; it never runs twice.
//!
//! What the client brings back is sealed: it names the call, and holds for its caller, its request
//! and its time only.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    rand::rand_bytes,
    sha::sha256,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    domain::{PrincipalKind, SessionId},
    pipeline::relay::Conversing,
    problem::{Kind, Problem},
    traffic::Ticket,
    wire::Request,
};

/// Stands before every state of ours, so that those of servers pass as they are.
const MARK: &str = "tollhouse.1.";
const NONCE: usize = 12;
const TAG: usize = 16;

/// The calls that wait for their clients.
pub(super) struct Parked {
    key: [u8; 32],
    /// Names this process: calls do not outlive it.
    node: u64,
    calls: Mutex<HashMap<u64, Call>>,
}

/// A call that waits, with its place in flight.
struct Call {
    conversing: Conversing,
    owner: Owner,
    expires: Instant,
    _ticket: Ticket,
}

/// Who may go on with a call, and with which request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    principal: String,
    session: Option<String>,
    request: [u8; 32],
}

impl Owner {
    pub(super) fn new(
        principal: &PrincipalKind,
        session: Option<&SessionId>,
        request: &Request,
    ) -> Self {
        Self {
            principal: principal.to_string(),
            session: session.map(|session| session.as_str().to_owned()),
            request: sha256(&request.essence()),
        }
    }
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct State {
    node: u64,
    call: u64,
    owner: Owner,
}

impl Parked {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        rand_bytes(&mut key).expect("the operating system has randomness");
        Self { key, node: chance(), calls: Mutex::default() }
    }

    /// Whether a state is one of ours, rather than a server's.
    pub(super) fn is_ours(state: &str) -> bool {
        state.starts_with(MARK)
    }

    /// Parks a call and gives the state that its client is to bring back.
    pub(super) fn park(
        &self,
        conversing: Conversing,
        owner: Owner,
        ticket: Ticket,
        limits: Limits,
    ) -> Result<String, Problem> {
        let mut calls = self.calls.lock();
        let of_one = calls.values().filter(|call| call.owner.principal == owner.principal).count();
        if calls.len() >= limits.parked || of_one >= limits.parked_per_principal {
            let message = "as many calls wait for input as may; answer or cancel one first";
            return Err(Problem::new(Kind::Limited, message).with_retry_after(5));
        }
        let call = chance();
        let state = State { node: self.node, call, owner: owner.clone() };
        let parked = Call { conversing, owner, expires: limits.expires, _ticket: ticket };
        calls.insert(call, parked);
        Ok(self.seal(&state))
    }

    /// Takes out the call that a state names, for whoever it was parked.
    pub(super) fn take(&self, state: &str, owner: &Owner) -> Result<Conversing, Problem> {
        let invalid =
            |why: &str| Problem::new(Kind::Invalid, format!("invalid params: requestState {why}"));
        let state = self.open(state).ok_or_else(|| invalid("is none of this gateway"))?;
        if state.owner != *owner {
            return Err(invalid("belongs to another request"));
        }
        let over = || invalid("is over: its call has ended; make the call anew");
        if state.node != self.node {
            return Err(over());
        }
        let mut calls = self.calls.lock();
        let call = calls.remove(&state.call).filter(|call| call.expires > Instant::now());
        Ok(call.ok_or_else(over)?.conversing)
    }

    /// Lets go of calls whose clients did not come back: their servers hear that nobody answers.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut calls = self.calls.lock();
        let over: Vec<Call> =
            calls.extract_if(|_, call| call.expires <= now).map(|(_, call)| call).collect();
        drop(calls);
        if !over.is_empty() {
            tracing::info!(count = over.len(), "calls that waited for input are over");
        }
    }

    /// Lets go of what a session left behind.
    pub(super) fn leave(&self, session: &SessionId) {
        let of_session = |call: &Call| call.owner.session.as_deref() == Some(session.as_str());
        let mut calls = self.calls.lock();
        let over: Vec<Call> =
            calls.extract_if(|_, call| of_session(call)).map(|(_, call)| call).collect();
        drop(calls);
        drop(over);
    }

    fn seal(&self, state: &State) -> String {
        let text = serde_json::to_vec(state).expect("plain data is JSON");
        let mut nonce = [0; NONCE];
        rand_bytes(&mut nonce).expect("the operating system has randomness");
        let mut tag = [0; TAG];
        let cipher = Cipher::aes_256_gcm();
        let sealed =
            encrypt_aead(cipher, &self.key, Some(&nonce), MARK.as_bytes(), &text, &mut tag)
                .expect("the key and the nonce have the cipher's lengths");
        format!("{MARK}{}", URL_SAFE_NO_PAD.encode([&nonce[..], &sealed, &tag].concat()))
    }

    fn open(&self, state: &str) -> Option<State> {
        let sealed = URL_SAFE_NO_PAD.decode(state.strip_prefix(MARK)?).ok()?;
        let (nonce, rest) = sealed.split_at_checked(NONCE)?;
        let (text, tag) = rest.split_at_checked(rest.len().checked_sub(TAG)?)?;
        let cipher = Cipher::aes_256_gcm();
        let text = decrypt_aead(cipher, &self.key, Some(nonce), MARK.as_bytes(), text, tag).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// How many calls may wait, and until when this one does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) parked: usize,
    pub(super) parked_per_principal: usize,
    pub(super) expires: Instant,
}

fn chance() -> u64 {
    let mut bytes = [0; 8];
    rand_bytes(&mut bytes).expect("the operating system has randomness");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Method;

    fn owner(tool: &str) -> Owner {
        let request = Request::make(&Method::ToolsCall, &format!(r#"{{"name":"{tool}"}}"#));
        Owner::new(&PrincipalKind::Operator, None, &request)
    }

    #[test]
    fn a_state_is_opened_as_it_was_sealed_or_not_at_all() {
        let parked = Parked::new();
        let state = State { node: parked.node, call: 7, owner: owner("a") };

        let sealed = parked.seal(&state);

        let opened = parked.open(&sealed).expect("ours");
        assert_eq!((opened.call, opened.owner), (7, owner("a")));
        assert!(Parked::is_ours(&sealed) && Parked::new().open(&sealed).is_none());
        let mut altered = sealed.into_bytes();
        let at = altered.len() / 2;
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        assert!(parked.open(&String::from_utf8(altered).expect("text")).is_none());
    }

    #[test]
    fn what_belongs_to_another_request_or_is_over_is_refused() {
        let parked = Parked::new();
        let sealed = parked.seal(&State { node: parked.node, call: 7, owner: owner("a") });

        let other = parked.take(&sealed, &owner("b")).map(drop).expect_err("another tool");
        let over = parked.take(&sealed, &owner("a")).map(drop).expect_err("nothing is parked");

        assert!(other.message().contains("another request"), "{other}");
        assert!(over.message().contains("is over"), "{over}");
    }
}
