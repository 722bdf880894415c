//! The load side: some thousand pages behind addresses of their own, in a process of its own, because a process may
//! not have more than some ten thousand files open. As crude as it can be: the pages are text that was made once, the
//! only number that changes is the load, and of HTTP it knows `GET` on kept connections and `?name[]=`.
//!
//! It is ordered about by lines on its standard input, and answers each with a line.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::page::Page;

/// Every page is at this port.
pub(super) const PORT: u16 = 8000;
/// Of a hundred pods this one hangs while faults are on …
const HANGS: usize = 7;
/// … and this one refuses connections.
const REFUSES: usize = 53;

/// Which pods this process plays.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// N of the plane's 127.N.0.0/16.
    #[arg(long)]
    network: u8,
    /// The first pod.
    #[arg(long)]
    first: usize,
    /// How many.
    #[arg(long)]
    count: usize,
    /// How many pods are one target.
    #[arg(long)]
    group: usize,
    /// The load of each pod at first.
    #[arg(long)]
    load: f64,
}

/// The address of a pod.
pub(super) fn address(network: u8, pod: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, network, (1 + pod / 250) as u8, (1 + pod % 250) as u8)
}

/// What was asked of the pages since the last order to measure.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) scrapes: u64,
    /// Of these, by name.
    pub(super) filtered: u64,
    /// Bytes of the answers.
    pub(super) bytes: u64,
    /// Whole milliseconds from one request to the next of the same healthy pod, and how often each.
    pub(super) intervals: BTreeMap<u64, u64>,
}

impl Asked {
    /// What two processes were asked.
    pub(super) fn merge(&mut self, other: &Self) {
        self.scrapes += other.scrapes;
        self.filtered += other.filtered;
        self.bytes += other.bytes;
        for (interval, count) in &other.intervals {
            *self.intervals.entry(*interval).or_default() += count;
        }
    }

    /// The least interval, in ms, that at least this share of them do not exceed; `None` when there are none.
    pub(super) fn interval(&self, share: f64) -> Option<u64> {
        let all: u64 = self.intervals.values().sum();
        let rank = (share * all as f64).ceil() as u64;
        let mut seen = 0;
        self.intervals.iter().find_map(|(interval, count)| {
            seen += count;
            (seen >= rank).then_some(*interval)
        })
    }
}

/// What all pods of the process share.
struct Pages {
    page: Page,
    /// The load of each target, as the bits of a float.
    loads: Vec<AtomicU64>,
    asked: std::sync::Mutex<Asked>,
    faults: watch::Receiver<bool>,
}

/// Serves until standard input ends.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { network, first, count, group, load } = arguments;
    let (switch, faults) = watch::channel(false);
    let targets = (first + count).div_ceil(group);
    let pages = Arc::new(Pages {
        page: Page::new().await?,
        loads: (0..targets).map(|_| AtomicU64::new(load.to_bits())).collect(),
        asked: std::sync::Mutex::default(),
        faults,
    });
    for pod in first..first + count {
        let address = SocketAddr::from((address(network, pod), PORT));
        let listener = TcpListener::bind(address).await.with_context(|| format!("{address}"))?;
        tokio::spawn(serve(Arc::clone(&pages), listener, pod, pod / group));
    }
    say("ready")?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        let answer = match *order.split_whitespace().collect::<Vec<_>>() {
            ["faults", on] => {
                switch.send_replace(on == "on");
                "ok".to_owned()
            }
            ["load", target, load] => {
                let load: f64 = load.parse()?;
                if let Some(known) = pages.loads.get(target.parse::<usize>()?) {
                    known.store(load.to_bits(), Ordering::Relaxed);
                }
                "ok".to_owned()
            }
            ["measure"] => {
                *pages.asked() = Asked::default();
                "ok".to_owned()
            }
            ["report"] => serde_json::to_string(&*pages.asked())?,
            _ => bail!("no such order: {order}"),
        };
        say(&answer)?;
    }
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

impl Pages {
    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn faulty(&self, pod: usize, which: usize) -> bool {
        pod % 100 == which && *self.faults.borrow()
    }
}

/// One pod. While it refuses, it does not listen.
async fn serve(pages: Arc<Pages>, listener: TcpListener, pod: usize, target: usize) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    let mut faults = pages.faults.clone();
    loop {
        if pages.faulty(pod, REFUSES) {
            listener = None;
            let _ = faults.changed().await;
            continue;
        }
        if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let Some(open) = &listener else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::select! {
            Ok((stream, _)) = open.accept() => {
                tokio::spawn(converse(Arc::clone(&pages), stream, pod, target));
            }
            changed = faults.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection: answers until the other end closes it, or the pod begins to refuse.
async fn converse(pages: Arc<Pages>, mut stream: TcpStream, pod: usize, target: usize) {
    let _ = stream.set_nodelay(true);
    let mut faults = pages.faults.clone();
    let (mut request, mut last) = (Vec::with_capacity(512), None::<Instant>);
    loop {
        request.clear();
        while !request.ends_with(b"\r\n\r\n") {
            tokio::select! {
                read = stream.read_buf(&mut request) => if !matches!(read, Ok(1..)) { return },
                _ = faults.changed() => if pages.faulty(pod, REFUSES) { return },
            }
        }
        let now = Instant::now();
        if pages.faulty(pod, HANGS) {
            let _ = faults.wait_for(|on| !on).await;
        }
        let healthy = !*pages.faults.borrow() || ![HANGS, REFUSES].contains(&(pod % 100));
        let load = f64::from_bits(pages.loads[target].load(Ordering::Relaxed));
        let (answer, filtered) = pages.page.answer(&request, load);
        {
            let mut asked = pages.asked();
            asked.scrapes += 1;
            asked.filtered += u64::from(filtered);
            asked.bytes += answer.len() as u64;
            if let Some(last) = last.replace(now).filter(|_| healthy) {
                *asked.intervals.entry((now - last).as_millis() as u64).or_default() += 1;
            }
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}
