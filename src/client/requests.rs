//! The book of calls: what was called, by whom, and how it ended.

use std::time::Duration;

use reqwest::{Method, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Client, Error, answer,
    manage::{query, segment},
};
use crate::wire::SseDecoder;

/// Bytes of one event of a line.
const EVENT_LIMIT: usize = 1 << 20;

/// The line of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestView {
    /// Its number.
    pub id: u64,
    /// When the call ended.
    pub timestamp: String,
    /// Names the call.
    #[serde(default)]
    pub request_id: String,
    /// What kind of call.
    #[serde(default)]
    pub rpc_method: String,
    /// The server it was for.
    #[serde(default)]
    pub server: Option<String>,
    /// The tool, resource or prompt.
    #[serde(default)]
    pub item: Option<String>,
    /// Who called.
    #[serde(default)]
    pub user_id: Option<String>,
    /// What the client calls itself.
    #[serde(default)]
    pub client_id: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// What the caller was told of a failure.
    #[serde(default)]
    pub problem: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What is heard of calls as they end.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestNews {
    /// A call ended.
    Line(Box<RequestView>),
    /// Calls came faster than they were told of, and some were passed over.
    Missed,
}

impl Client {
    /// Lines of calls, the newest first. What is looked for is named as in the path's query, such
    /// as `("server", "time")`, `limit` and `before` too.
    pub async fn requests(&self, wanted: &[(&str, String)]) -> Result<Vec<RequestView>, Error> {
        self.get(&format!("/api/admin/requests?{}", query(wanted))).await
    }

    /// One line, by its number or the id of its request.
    pub async fn request_line(&self, id: &str) -> Result<RequestView, Error> {
        self.get(&format!("/api/admin/requests/{}", segment(id))).await
    }

    /// Tells of calls as they end, until the gateway says no more.
    pub async fn requests_live(
        &self,
        wanted: &[(&str, String)],
        mut tell: impl FnMut(RequestNews) -> bool,
    ) -> Result<(), Error> {
        let path = format!("/api/admin/requests/live?{}", query(wanted));
        let mut response = self.endless(&path).await?;
        let mut events = SseDecoder::new(EVENT_LIMIT);
        while let Some(piece) = response.chunk().await.map_err(|error| self.lost(error))? {
            let broken = |reason: String| Error::Closed { place: self.place.clone(), reason };
            for event in events.push(&piece).map_err(|error| broken(error.to_string()))? {
                let news = if event.kind == "missed" {
                    RequestNews::Missed
                } else {
                    let line = serde_json::from_slice(&event.data);
                    RequestNews::Line(line.map_err(|error| broken(error.to_string()))?)
                };
                if !tell(news) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Lines of calls as JSON, one a line, or as CSV: pieces of a text, until one is not taken.
    pub async fn requests_export(
        &self,
        wanted: &[(&str, String)],
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let path = format!("/api/admin/requests/export?{}", query(wanted));
        let mut response = self.endless(&path).await?;
        while let Some(piece) = response.chunk().await.map_err(|error| self.lost(error))? {
            if !take(&piece) {
                break;
            }
        }
        Ok(())
    }

    /// An answer that may be as long as it likes.
    async fn endless(&self, path: &str) -> Result<Response, Error> {
        let request = self.request(Method::GET, path)?.timeout(Duration::MAX);
        let response = self.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.whole(response).await?;
        Err(answer::refused(&self.place, status, &body))
    }
}
