//! The API server's own record of who wrote what.

use std::io;
use std::path::Path;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// One write, as the API server recorded it when it was answered.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// Who wrote, as the client named itself.
    #[serde(default)]
    pub user_agent: String,
    /// What was written.
    #[serde(default)]
    pub object_ref: ObjectRef,
    /// The outcome.
    #[serde(default)]
    response_status: Status,
    /// When the API server received the request.
    #[serde(rename = "requestReceivedTimestamp")]
    pub received: Timestamp,
    /// When it was answered.
    #[serde(rename = "stageTimestamp")]
    pub answered: Timestamp,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ObjectRef {
    /// Plural of the kind.
    pub resource: String,
    /// `scale`, `status` or nothing.
    pub subresource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object; empty where the API server chooses one.
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl Write {
    /// Whether the API server did it.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    /// The status code of the answer; 0 if it is not known.
    pub fn code(&self) -> u16 {
        self.response_status.code
    }

    /// Whether the client called itself so.
    pub fn is_by(&self, user_agent: &str) -> bool {
        self.user_agent.starts_with(user_agent)
    }
}

/// Reads a plane's audit log, oldest first. A line that is still being written is left out.
///
/// # Errors
/// If the log cannot be read.
pub fn read(log: &Path) -> io::Result<Vec<Write>> {
    Ok(parse(&std::fs::read_to_string(log)?))
}

fn parse(text: &str) -> Vec<Write> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read() {
        let line = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"x","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/default/deployments/a/scale","verb":"update","user":{"username":"admin"},"sourceIPs":["127.20.0.1"],"userAgent":"windlass/0.1.0 (a)","objectRef":{"resource":"deployments","namespace":"default","name":"a","apiGroup":"apps","apiVersion":"v1","subresource":"scale"},"responseStatus":{"metadata":{},"code":409},"requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z","stageTimestamp":"2026-01-01T00:00:00.004Z"}"#;
        let events = parse(&format!("{line}\n{}", &line[..100]));
        let [event] = &events[..] else { panic!("{events:?}") };
        assert!(event.is_by("windlass/") && !event.is_by("kubectl/") && !event.succeeded());
        assert_eq!(event.code(), 409);
        assert_eq!(
            (event.object_ref.resource.as_str(), event.object_ref.subresource.as_str()),
            ("deployments", "scale")
        );
        assert_eq!(event.answered.duration_since(event.received).as_micros(), 3999);
    }
}
