//! A Loki: lines are pushed over HTTP (`POST /loki/api/v1/push`).

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{Failure, Line, Sink};
use crate::domain::Secret;

/// How long the other side has for anything.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a refusal that are told.
const TEXT: usize = 200;

/// A Loki, and what is said of all lines.
pub(super) struct Loki {
    url: String,
    labels: BTreeMap<String, String>,
    client: reqwest::Client,
    /// Of its own, because whoever hands lines over is a thread that waits; made there.
    runtime: Option<Runtime>,
}

impl Loki {
    /// The one at this URL; and what is shown there: whose lines they are, and a token.
    pub(super) fn new(
        url: &str,
        labels: BTreeMap<String, String>,
        (tenant, token): (Option<&str>, Option<&Secret>),
    ) -> Result<Self, String> {
        let parsed = reqwest::Url::parse(url).ok();
        if !parsed.is_some_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host()) {
            return Err(format!("{url:?} is not the URL of a Loki, such as http://loki:3100"));
        }
        let mut headers = HeaderMap::new();
        let wrong = |_| "tenant and token hold characters that no header has".to_owned();
        if let Some(tenant) = tenant {
            let name = HeaderName::from_static("x-scope-orgid");
            headers.insert(name, HeaderValue::from_str(tenant).map_err(wrong)?);
        }
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut value = value.map_err(wrong)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder().timeout(PATIENCE).default_headers(headers);
        let client = client.redirect(reqwest::redirect::Policy::none()).build();
        Ok(Self {
            url: format!("{}/loki/api/v1/push", url.trim_end_matches('/')),
            labels,
            client: client.map_err(|error| error.to_string())?,
            runtime: None,
        })
    }

    /// A stream for each gravity: few labels, as Loki wants it.
    fn body(&self, lines: &[Line]) -> Value {
        let mut streams: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for line in lines {
            let at = format!("{}000000", line.at.as_ms());
            streams.entry(line.gravity.as_str()).or_default().push(json!([at, &*line.json]));
        }
        let stream = |(gravity, values): (&str, Vec<Value>)| {
            let mut labels = self.labels.clone();
            labels.entry("job".to_owned()).or_insert_with(|| "tollhouse".to_owned());
            labels.insert("level".to_owned(), gravity.to_owned());
            json!({ "stream": labels, "values": values })
        };
        json!({ "streams": streams.into_iter().map(stream).collect::<Vec<_>>() })
    }
}

impl Sink for Loki {
    fn send(&mut self, lines: &[Line]) -> Result<(), Failure> {
        let request = self.client.post(&self.url).json(&self.body(lines));
        let runtime = match &mut self.runtime {
            Some(runtime) => runtime,
            none => none.insert(Builder::new_current_thread().enable_all().build()?),
        };
        let answered = runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status();
            // What is refused says why; anything else need not be read.
            let text =
                if status.is_client_error() { response.text().await? } else { String::new() };
            Ok::<_, reqwest::Error>((status, text))
        });
        let (status, text) =
            answered.map_err(|error| Failure::Later(error.without_url().to_string()))?;
        let said = || format!("{status} {}", text.chars().take(TEXT).collect::<String>());
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Failure::Later(said()))
            }
            _ if status.is_client_error() => Err(Failure::Never(said())),
            _ => Err(Failure::Later(said())),
        }
    }
}
