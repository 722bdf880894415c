//! Calls to the API server: a few at a time, each with a time-out, repeated until they succeed or make no sense.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::Semaphore;
use tracing::warn;

const TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// So many calls of one agent are under way at once; a start of a thousand pods must not starve everyone else.
const AT_ONCE: usize = 32;

/// The API server as all pods of one agent share it.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) client: Client,
    places: Arc<Semaphore>,
}

/// The object of the call is no longer there, or was not to be created because it is.
#[derive(Debug)]
pub(super) struct Gone;

impl Calls {
    pub(super) fn new(client: Client) -> Self {
        Self { client, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Makes a call until it succeeds. Only "not found" and "already exists" end the attempts; everything else is
    /// tried again with growing pauses: an API server that restarts must not lose a pod's status. A conflict is tried
    /// again too: if it means that the pod was replaced, the watch says so and ends the caller.
    pub(super) async fn persist<T, F>(&self, what: &str, call: impl Fn() -> F) -> Result<T, Gone>
    where
        F: Future<Output = kube::Result<T>>,
    {
        let mut pause = BACKOFF.0;
        loop {
            let place = self.places.acquire().await;
            let outcome = tokio::time::timeout(TIMEOUT, call()).await;
            drop(place);
            match outcome {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_already_exists() => {
                    return Err(Gone);
                }
                Ok(Err(error)) => warn!(what, %error, "call failed, trying again"),
                Err(_elapsed) => warn!(what, timeout = ?TIMEOUT, "call timed out, trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}
