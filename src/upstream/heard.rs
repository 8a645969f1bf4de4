//! What comes from a server: the answer to a question of ours, a question of its own, or word of
//! something.

use bytes::Bytes;

use crate::wire::{Answer, Message, Method, Request, Unreadable};

/// A message from a server.
#[derive(Debug)]
pub(super) enum Heard {
    /// The answer to a question.
    Answer(Answer),
    /// A question to the gateway as its client.
    Question(Request),
    /// A notification.
    Word,
    /// Nothing of MCP.
    Noise(Unreadable),
}

impl Heard {
    /// Reads a message. Most are answers, so that is tried first.
    pub(super) fn read(bytes: &Bytes) -> Self {
        let unreadable = match Answer::parse(bytes) {
            Ok(answer) => return Self::Answer(answer),
            Err(unreadable) => unreadable,
        };
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => Self::Question(request),
            Ok(Message::Notification(_)) => Self::Word,
            Ok(Message::Answer) | Err(_) => Self::Noise(unreadable),
        }
    }
}

/// The gateway's answer to a server's question: it is there, and offers nothing that is asked for.
pub(super) fn reply_to(question: &Request) -> Bytes {
    let id = question.id();
    let reply = match question.method() {
        Method::Ping => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
        _ => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"this client does not offer that"}}}}"#
        ),
    };
    reply.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Heard {
        Heard::read(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn tells_messages_apart() {
        let answer = read(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        let question = read(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
        let word = read(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
        let noise = read("Server listening on port 3000");

        assert!(matches!(answer, Heard::Answer(_)), "{answer:?}");
        assert!(matches!(question, Heard::Question(_)), "{question:?}");
        assert!(matches!(word, Heard::Word), "{word:?}");
        assert!(matches!(noise, Heard::Noise(Unreadable::NotJson(_))), "{noise:?}");
    }

    #[test]
    fn answers_pings_and_refuses_the_rest() {
        let reply = |text| match read(text) {
            Heard::Question(question) => reply_to(&question),
            other => panic!("{other:?}"),
        };

        let pong = reply(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#);
        let refusal = reply(r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#);

        assert_eq!(pong, r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
        assert!(refusal.starts_with(br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601"#));
    }
}
