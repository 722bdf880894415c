//! Which pages of a target's pods are read, and what they brought.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio_util::task::AbortOnDropHandle;
use windlass_api::{Access as Declared, PathRule, PodSource, PortRule, Source};
use windlass_metrics::Catalogue;
use windlass_scaling::PodUid;
use windlass_scrape::{Access, Detection, Endpoint, Host, Outcome, Pacemaker, Poller, Schedule, Vocabulary};

use super::readers::Readers;
use super::{Active, Key, Member, engines, values};
use crate::clock::Clock;
use crate::credentials;

/// Where outcomes of polls go.
pub(crate) type Sink = Arc<dyn Fn(&Key, PodUid, PageId, Outcome) + Send + Sync>;

/// Which page of which version of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageId {
    version: u32,
    index: usize,
}

impl PageId {
    /// The first page of a new autoscaler.
    #[cfg(test)]
    pub(crate) const FIRST: Self = Self { version: 0, index: 0 };
}

/// Signals that are read from the same page.
struct Page {
    port: PortRule,
    path: PathRule,
    vocabulary: Arc<Vocabulary>,
    /// Under which its values are kept.
    numbers: Vec<u8>,
    declared: Declared,
    access: Option<Arc<Access>>,
}

/// The pages of one target, and who reads them.
pub(super) struct Polling {
    pages: Vec<Page>,
    catalogue: Arc<Catalogue>,
    /// Raised when the pages change: a poll of before is of no use.
    version: u32,
    readers: Readers,
    /// Keep the credentials of pages up to date; none before they are needed.
    keepers: Option<Vec<AbortOnDropHandle<()>>>,
    pacemaker: Pacemaker,
}

impl Polling {
    pub(super) fn new(sources: &[Source], catalogue: &Arc<Catalogue>, schedule: Schedule) -> Self {
        Self {
            pages: pages(sources, catalogue),
            catalogue: Arc::clone(catalogue),
            version: 0,
            readers: Readers::default(),
            keepers: None,
            pacemaker: Pacemaker::new(schedule),
        }
    }

    /// Reads other pages from now on.
    pub(super) fn read_from(&mut self, sources: &[Source], catalogue: &Arc<Catalogue>) {
        self.stop();
        self.pages = pages(sources, catalogue);
        self.catalogue = Arc::clone(catalogue);
        self.version += 1;
    }

    pub(super) fn stop(&mut self) {
        self.readers.clear();
        self.keepers = None;
    }

    /// Reads the Secrets that pages need, from now on.
    pub(super) fn keep_credentials(&mut self, client: &Client, namespace: &str) {
        let pages = &self.pages;
        self.keepers.get_or_insert_with(|| {
            let keeper = |page: &Page| {
                credentials::keep(
                    Arc::clone(page.access.as_ref()?),
                    &page.declared,
                    client.clone(),
                    namespace,
                )
            };
            pages.iter().filter_map(keeper).collect()
        });
    }

    /// One poller per page of every ready pod of ours.
    pub(super) fn sync(&mut self, members: &BTreeMap<PodUid, Member>, key: &Key, sink: &Sink) {
        let polled = |member: &Member| member.counts() && member.entry.is_ready();
        self.readers.retain(|uid| members.get(&uid).is_some_and(polled));
        for (&uid, member) in members.iter().filter(|(_, member)| polled(member)) {
            let Some(address) = member.entry.address() else { continue };
            for (index, page) in self.pages.iter().enumerate() {
                if self.readers.contains((uid, index)) {
                    continue;
                }
                let pod = member.entry.pod();
                let endpoint = Endpoint {
                    host: Host::Address((address, page.port.of(&pod)).into()),
                    path: page.path.of(&pod, &self.catalogue),
                    access: page.access.clone(),
                };
                let (key, sink) = (key.clone(), Arc::clone(sink));
                let page_id = PageId { version: self.version, index };
                let report = move |outcome| sink(&key, uid, page_id, outcome);
                let labels = member.entry.labels();
                let label = |key: &str| labels.get(key).map(String::as_str);
                let detection = Detection::new(Arc::clone(&page.vocabulary), label);
                let reading = Poller::detecting(endpoint, &self.pacemaker, detection, report);
                self.readers.insert((uid, index), reading);
            }
        }
    }

    /// Reads every page this often from now on.
    pub(super) fn set_interval(&self, interval: Duration) {
        self.pacemaker.set(interval);
    }

    /// How often every page is read; none if there is none.
    pub(super) fn interval(&self) -> Option<Duration> {
        (!self.pages.is_empty()).then(|| self.pacemaker.schedule().interval)
    }

    pub(super) fn any_failing(&self) -> bool {
        self.readers.any_failing()
    }

    /// An engine's processor time for one reading of all its pages.
    pub(super) fn service(&self) -> Option<Duration> {
        self.readers.service(self.pages.len())
    }

    /// The page, if it is still read.
    fn page(&self, id: PageId) -> Option<&Page> {
        self.pages.get(id.index).filter(|_| id.version == self.version)
    }
}

impl Active {
    /// A page's last poll failed.
    pub(crate) fn any_failing(&self) -> bool {
        self.polling.any_failing()
    }

    /// Takes the outcome of a poll. How long after the poll before it the page was asked for, and whether every page was
    /// read since the last decision: then there may be a round.
    pub(crate) fn record(
        &mut self,
        uid: PodUid,
        id: PageId,
        outcome: Outcome,
        clock: &Clock,
    ) -> (Option<Duration>, bool) {
        let is_read = self.polling.page(id).is_some();
        let spacing = is_read.then(|| self.polling.readers.hear((uid, id.index), &outcome)).flatten();
        let brought = self.take(uid, id, outcome, spacing.unwrap_or_default(), clock);
        let interval = self.polling.pacemaker.schedule().interval;
        (spacing, is_read && self.polling.readers.is_lap_over(brought, interval))
    }

    /// Takes what a poll brought, `spacing` after the one before. Whether that is a reading.
    fn take(&mut self, uid: PodUid, id: PageId, outcome: Outcome, spacing: Duration, clock: &Clock) -> bool {
        let (Some(member), Some(page)) = (self.members.get_mut(&uid), self.polling.page(id)) else {
            return false;
        };
        // A page that was under way while the ready pods changed is of before the change.
        let taken = clock.at(outcome.asked);
        if let Some(detected) = outcome.detected {
            let port = page.port.of(&member.entry.pod());
            let found = engines::Found::new(detected, port);
            member.engines.retain(|(page, _)| *page != id.index);
            member.engines.reserve_exact(1);
            member.engines.push((id.index, found));
            self.engines.take();
        }
        match outcome.values {
            Err(error) => {
                member.silences.failed(id.index, &error, taken, spacing);
                false
            }
            Ok(values) => {
                member.silences.answered(id.index, outcome.missing, taken, spacing);
                values::keep(&mut self.readings, Some(uid), &page.numbers, values, taken, clock)
            }
        }
    }

    /// How many pages are polled.
    #[cfg(test)]
    pub(crate) fn polls(&self) -> usize {
        self.polling.readers.len()
    }
}

/// Sources on the same port and path share one poll.
fn pages(sources: &[Source], catalogue: &Arc<Catalogue>) -> Vec<Page> {
    let mut grouped: Vec<(&PodSource, Vec<u8>)> = Vec::new();
    for (signal, source) in (0..).zip(sources) {
        let Source::Pod(source) = source else { continue };
        let same = |(known, _): &&mut (&PodSource, _)| {
            (known.port, &known.path, &known.access) == (source.port, &source.path, &source.access)
        };
        match grouped.iter_mut().find(same) {
            Some((_, signals)) => signals.push(signal),
            None => grouped.push((source, vec![signal])),
        }
    }
    let on_page = |signal: &u8| match &sources[usize::from(*signal)] {
        Source::Pod(source) => Some((*signal, &source.metric, source.inflight.as_ref())),
        _ => None,
    };
    let page = |(source, signals): (&PodSource, Vec<u8>)| {
        let on_page: Vec<values::OnPage<'_>> = signals.iter().filter_map(on_page).collect();
        let (metrics, numbers) = values::on_page(&on_page);
        Page {
            port: source.port,
            path: source.path.clone(),
            vocabulary: Arc::new(Vocabulary::new(Arc::clone(catalogue), metrics, signals.len())),
            numbers,
            access: credentials::access(&source.access, true),
            declared: source.access.clone(),
        }
    };
    grouped.into_iter().map(page).collect()
}
