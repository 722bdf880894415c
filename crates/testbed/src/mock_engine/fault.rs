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
    /// `gzip`: the page compressed, though nobody asked.
    Gzip,
    /// `chunked`: the page in small chunks that end anywhere, without an announced length.
    Chunked,
    /// `http10`: by HTTP/1.0, without a length; the end of the connection is the end of the page.
    Http10,
    /// `close`: whole, and the connection is closed after it.
    Close,
    /// `nan`: gauges that are 0 say `NaN`, as a ratio of nothing to nothing does in an idle engine.
    Nan,
    /// `backwards`: on every second page counters and histograms have half of what they had.
    Backwards,
    /// `duplicate`: every series of the engine comes twice.
    Duplicate,
    /// `renamed`: the engine's families have other names: `vllm:new_num_requests_running`.
    Renamed,
    /// `vanished`: the engine's families are gone; what its process and its web server say is there.
    Vanished,
    /// `labels`: the engine's series have a label whose value is another one on every page.
    Labels,
    /// `two-models`: every series of the model comes a second time for another one, with the same value.
    TwoModels,
    /// `buckets`: every second bucket of the engine's histograms is gone, as after an upgrade with other bounds.
    Buckets,
}

impl Fault {
    /// Whether it concerns the metrics page alone, whatever the scope.
    pub(super) fn is_of_page(self) -> bool {
        self as u8 >= Self::Gzip as u8
    }
}

/// Which requests a fault is shown to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultScope {
    /// All of them.
    #[default]
    All,
    /// Only those for the metrics page: the engine works and cannot be seen. [`Fault::Refuse`] acts on whole connections and
    /// knows no scope.
    Metrics,
}

impl FaultScope {
    /// Whether it covers the metrics page (`is_page`) or another one.
    pub(super) fn covers(self, is_page: bool) -> bool {
        self == Self::All || is_page
    }
}

/// In the order of [`Fault`].
const NAMES: [(&str, Fault); 23] = [
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
    ("gzip", Fault::Gzip),
    ("chunked", Fault::Chunked),
    ("http10", Fault::Http10),
    ("close", Fault::Close),
    ("nan", Fault::Nan),
    ("backwards", Fault::Backwards),
    ("duplicate", Fault::Duplicate),
    ("renamed", Fault::Renamed),
    ("vanished", Fault::Vanished),
    ("labels", Fault::Labels),
    ("two-models", Fault::TwoModels),
    ("buckets", Fault::Buckets),
];

/// A fault name that does not exist.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown fault {0:?}; use http500, refuse, hang, garbage, html, half, cut, huge, slow, redirect, gzip, chunked, http10, \
     close, nan, backwards, duplicate, renamed, vanished, labels, two-models or buckets, or nothing"
)]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let found = NAMES.iter().find(|(known, _)| *known == name.trim());
        found.map(|(_, fault)| *fault).ok_or_else(|| UnknownFault(name.to_owned()))
    }
}
