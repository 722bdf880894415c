//! How an engine can misbehave.

use std::str::FromStr;

/// A fault shown to every request for as long as it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Healthy.
    #[default]
    None,
    /// `http500`: status 500 with a short text.
    Http500,
    /// `refuse`: the listener is closed and open connections are dropped.
    Refuse,
    /// `hang`: connections and requests are accepted and not answered until the fault is taken away.
    Hang,
    /// `garbage`: status 200 with bytes that are no exposition text, and no UTF-8.
    Garbage,
    /// `html`: status 200 with a web page, as a proxy's error page or a wrong port gives.
    Html,
    /// `half`: the length of the whole page is announced, half of it is sent, then the connection is closed.
    Half,
    /// `cut`: a consistent answer whose last number is cut after its first digit (`33.3` becomes `3`).
    Cut,
    /// `huge`: a valid page of 40 MB without an announced length.
    Huge,
    /// `slow`: the page at one byte a second.
    Slow,
    /// `redirect`: status 302 to another address.
    Redirect,
}

/// Which requests a fault is shown to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultScope {
    /// All of them.
    #[default]
    All,
    /// Only those for `/metrics`: the engine works and cannot be seen. [`Fault::Refuse`] acts on whole connections and
    /// knows no scope.
    Metrics,
}

impl FaultScope {
    pub(super) fn covers(self, path: &str) -> bool {
        self == Self::All || path == "/metrics"
    }
}

const NAMES: [(&str, Fault); 11] = [
    ("", Fault::None),
    ("http500", Fault::Http500),
    ("refuse", Fault::Refuse),
    ("hang", Fault::Hang),
    ("garbage", Fault::Garbage),
    ("html", Fault::Html),
    ("half", Fault::Half),
    ("cut", Fault::Cut),
    ("huge", Fault::Huge),
    ("slow", Fault::Slow),
    ("redirect", Fault::Redirect),
];

/// A fault name that does not exist.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown fault {0:?}; use http500, refuse, hang, garbage, html, half, cut, huge, slow or redirect, or nothing"
)]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let found = NAMES.iter().find(|(known, _)| *known == name.trim());
        found.map(|(_, fault)| *fault).ok_or_else(|| UnknownFault(name.to_owned()))
    }
}
