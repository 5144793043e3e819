//! The client's side of the control socket: requests to the running server.

use crate::http::{Problem, control_socket};
use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use tokio::net::UnixStream;

/// A connection to the running server.
pub struct Control {
    sender: SendRequest<Full<Bytes>>,
}

impl Control {
    /// Connects to the server whose data is in `data_dir`.
    pub async fn connect(data_dir: &Path) -> anyhow::Result<Self> {
        let path = control_socket(data_dir);
        let stream = UnixStream::connect(&path)
            .await
            .with_context(|| format!("no server answers at {} (is it running with this data_dir?)", path.display()))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// GET: a JSON answer.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let response = self.stream(path).await?;
        let body = response.into_body().collect().await.context("the server's answer broke off")?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }

    /// GET: an answer that is read as it comes.
    pub async fn stream(&mut self, path: &str) -> anyhow::Result<Response<Incoming>> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// POST of JSON: a JSON answer.
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let response = self.send(Method::POST, path, serde_json::to_vec(body)?.into()).await?;
        let body = response.into_body().collect().await.context("the server's answer broke off")?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await.context("the server closed the connection")?;
        let request = Request::builder().method(method).uri(path).header("host", "postern").body(Full::new(body))?;
        let response = self.sender.send_request(request).await.context("the server did not answer")?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.into_body().collect().await.context("the server's answer broke off")?.to_bytes();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => anyhow!("{}", problem.detail),
            Err(_) => anyhow!("the server answered {status}: {}", String::from_utf8_lossy(&body)),
        })
    }
}

/// A value for a query, percent-encoded.
pub fn encoded(value: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    let mut text = String::with_capacity(value.len());
    for octet in value.bytes() {
        if plain(octet) {
            text.push(char::from(octet));
        } else {
            text.push_str(&format!("%{octet:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn values_are_encoded() {
        assert_eq!(encoded("zone=a b&ä\"+%"), "zone%3Da%20b%26%C3%A4%22%2B%25");
    }
}
