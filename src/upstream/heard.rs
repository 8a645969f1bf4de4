//! What comes from a server: the answer to a question of ours, a question of its own, or word of
//! something.

use bytes::Bytes;

use crate::wire::{Answer, Message, Request, Unreadable};

/// A message from a server.
#[derive(Debug)]
pub(super) enum Heard {
    /// The answer to a question.
    Answer(Answer),
    /// A question to the gateway as its client.
    Question(Request),
    /// A notification.
    Word(Request),
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
            Ok(Message::Notification(word)) => Self::Word(word),
            Ok(Message::Answer(_)) | Err(_) => Self::Noise(unreadable),
        }
    }
}

/// The answer that says that the gateway is there.
pub(super) fn pong(question: &Request) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, question.id()).into()
}

/// The answer that something asked is not to be had.
pub(super) fn refusal(question: &Request, code: i32, message: &str) -> Bytes {
    let id = question.id();
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
        .into()
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
        assert!(matches!(word, Heard::Word(_)), "{word:?}");
        assert!(matches!(noise, Heard::Noise(Unreadable::NotJson(_))), "{noise:?}");
    }

    #[test]
    fn answers_under_the_id_the_server_gave() {
        let Heard::Question(asked) = read(r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#) else {
            panic!("no question")
        };

        assert_eq!(pong(&asked), r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
        let refusal = refusal(&asked, -32_601, "no");
        assert_eq!(refusal, r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32601,"message":"no"}}"#);
    }
}
