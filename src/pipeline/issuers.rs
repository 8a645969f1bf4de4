//! Keys of other issuers, fetched before a call that shows one of their tokens is judged.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    access::{
        Credential,
        issuers::{Issuer, Place},
    },
    pipeline::Pipeline,
    upstream::Document,
};

impl Pipeline {
    /// Reads the keys of an issuer. Where they cannot be had the call is judged by those that are
    /// known.
    pub(super) async fn read_keys(&self, credential: &Credential, issuer: &Issuer) {
        self.access.renew_keys(credential, issuer, self.set_of_keys(issuer)).await;
    }

    async fn set_of_keys(&self, issuer: &Issuer) -> Option<Bytes> {
        match issuer.place() {
            Place::Set(url) => self.document_of(issuer, &url).await,
            Place::Told(documents) => {
                for url in documents {
                    let Some(document) = self.document_of(issuer, &url).await else { continue };
                    if let Some(set) = issuer.set_of(&document) {
                        return self.document_of(issuer, &set).await;
                    }
                    tracing::warn!(url, "the document is not the issuer's own");
                }
                None
            }
        }
    }

    async fn document_of(&self, issuer: &Issuer, url: &str) -> Option<Bytes> {
        let settings = self.access.issuer_keys();
        let document = Document {
            url,
            bytes: settings.bytes,
            within: Duration::from_millis(settings.read_ms),
            may_be_private: issuer.is_private(),
        };
        let read = self.upstream.document(document).await;
        read.inspect_err(|error| tracing::info!(url, %error, "a document is not to be had")).ok()
    }
}
