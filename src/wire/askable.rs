//! What a client can be asked in the middle of a call.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::member::Members;

/// What a client can be asked in the middle of a call, as far as servers tell clients apart by it:
/// those of older revisions offer some tools only to clients that can do what the tools need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Askable(u8);

impl Askable {
    /// A client that can be asked nothing.
    pub const NOTHING: Self = Self(0);

    const ROOTS: u8 = 1;
    const SAMPLING: u8 = 2;
    const SAMPLING_TOOLS: u8 = 4;
    const ELICITATION: u8 = 8;
    const ELICITATION_URL: u8 = 16;

    /// Reads a client's capabilities. What is no JSON says nothing.
    #[must_use]
    pub fn read(capabilities: &str) -> Self {
        #[derive(Deserialize)]
        struct Said<'a> {
            #[serde(borrow)]
            roots: Option<&'a RawValue>,
            #[serde(borrow)]
            sampling: Option<&'a RawValue>,
            #[serde(borrow)]
            elicitation: Option<&'a RawValue>,
        }
        let Ok(said) = serde_json::from_str::<Said<'_>>(capabilities) else { return Self::NOTHING };
        let has = |raw: &RawValue, name| {
            let members = serde_json::from_str::<Members<'_>>(raw.get());
            members.is_ok_and(|members| members.get(name).is_some())
        };
        let mut bits = 0;
        if said.roots.is_some() {
            bits |= Self::ROOTS;
        }
        if let Some(sampling) = said.sampling {
            bits |= Self::SAMPLING;
            if has(sampling, "tools") {
                bits |= Self::SAMPLING_TOOLS;
            }
        }
        if let Some(elicitation) = said.elicitation {
            bits |= Self::ELICITATION;
            if has(elicitation, "url") {
                bits |= Self::ELICITATION_URL;
            }
        }
        Self(bits)
    }

    /// Whether a client can be asked that.
    #[must_use]
    pub fn answers(self, method: &str) -> bool {
        match method {
            "elicitation/create" => self.has(Self::ELICITATION),
            "sampling/createMessage" => self.has(Self::SAMPLING),
            "roots/list" => self.has(Self::ROOTS),
            _ => false,
        }
    }

    /// The capabilities of a client that can be asked this much and no more, as JSON.
    #[must_use]
    pub fn to_json(self) -> String {
        let mut members = Vec::new();
        if self.has(Self::ROOTS) {
            members.push(r#""roots":{}"#);
        }
        match (self.has(Self::SAMPLING), self.has(Self::SAMPLING_TOOLS)) {
            (false, _) => {}
            (true, false) => members.push(r#""sampling":{}"#),
            (true, true) => members.push(r#""sampling":{"tools":{}}"#),
        }
        match (self.has(Self::ELICITATION), self.has(Self::ELICITATION_URL)) {
            (false, _) => {}
            (true, false) => members.push(r#""elicitation":{}"#),
            (true, true) => members.push(r#""elicitation":{"form":{},"url":{}}"#),
        }
        format!("{{{}}}", members.join(","))
    }

    const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_clients_apart_and_speaks_for_them() {
        for said in [
            "{}",
            r#"{"roots":{}}"#,
            r#"{"sampling":{}}"#,
            r#"{"sampling":{"tools":{}}}"#,
            r#"{"elicitation":{}}"#,
            r#"{"roots":{},"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}}}"#,
        ] {
            assert_eq!(Askable::read(said).to_json(), said);
        }
        let wordy = r#"{"elicitation":{"form":{}},"roots":{"listChanged":true},"x":1}"#;
        assert_eq!(Askable::read(wordy).to_json(), r#"{"roots":{},"elicitation":{}}"#);
        assert_eq!(Askable::read("nonsense"), Askable::NOTHING);
    }

    #[test]
    fn nobody_is_asked_what_he_did_not_say() {
        let sampler = Askable::read(r#"{"sampling":{}}"#);

        assert!(sampler.answers("sampling/createMessage"));
        assert!(!sampler.answers("elicitation/create"));
        assert!(!sampler.answers("tools/call"));
    }
}
