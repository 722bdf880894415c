//! The life of one pod, from bound to deleted.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::address::{Addresses, Lease};
use super::annotations::{Mode, Settings};
use super::calls::{Calls, Gone};
use super::directory::Directory;
use super::objects::{Phase, Pod};
use super::program::Program;
use super::registry::{NewPod, Orders};
use super::usage::{OpenAccount, UsageBook, Work};
use super::{Kubelets, status};
use crate::mock_engine::{self, Serving};
use crate::processor::Processor;
use crate::{load_generator, web_server};

/// Between two attempts to get an address or to listen on it.
const RETRY: Duration = Duration::from_secs(1);
/// How long a deleted pod goes on serving when nothing else is said.
const TERMINATE: Duration = Duration::from_millis(100);
/// A deleted engine that serves requests goes on until there were none for this long.
const QUIET: Duration = Duration::from_millis(500);

/// One pod as its node runs it.
pub(super) struct Life {
    calls: Calls,
    api: Api<ApiPod>,
    addresses: Addresses,
    directory: Directory,
    usage: UsageBook,
    host: Ipv4Addr,
    pod: Pod,
    orders: watch::Receiver<Orders>,
    /// The address of a pod that had one already when the agent met it.
    adopted: Option<Lease>,
}

/// A pod whose start-up time is over.
struct Started {
    lease: Lease,
    at: SystemTime,
    /// Whether the API server has it as ready already.
    ready: bool,
    act: Act,
    account: OpenAccount,
}

/// What a started pod does.
enum Act {
    /// A mock engine, and what serves its requests, if it does.
    Engine(TcpListener, Option<Arc<Serving>>),
    Web(TcpListener, Arc<Processor>),
    LoadGenerator(http::Uri, Arc<Processor>),
    Idle,
}

impl Act {
    fn serving(&self) -> Option<Arc<Serving>> {
        match self {
            Self::Engine(_, serving) => serving.clone(),
            _ => None,
        }
    }
}

impl Life {
    /// A pod that has an address already reserves it here, before anyone else can take it.
    pub(super) fn new(kubelets: &Kubelets, host: Ipv4Addr, new: NewPod) -> Self {
        let NewPod { pod, orders } = new;
        Self {
            api: Api::namespaced(kubelets.calls.client.clone(), &pod.namespace),
            adopted: pod.address.and_then(|address| kubelets.addresses.adopt(address)),
            calls: kubelets.calls.clone(),
            addresses: kubelets.addresses.clone(),
            directory: kubelets.directory.clone(),
            usage: kubelets.usage.clone(),
            host,
            pod,
            orders,
        }
    }

    /// Runs the pod until it is deleted, or until its orders end because it is gone or the agent stops.
    pub(super) async fn run(mut self) {
        let mut orders = self.orders.clone();
        let adopted = self.adopted.take();
        let no_more_orders = async { while orders.changed().await.is_ok() {} };
        tokio::select! {
            outcome = self.live(adopted) => {
                debug!(namespace = self.pod.namespace, name = self.pod.name, ?outcome, "pod ended");
            }
            () = no_more_orders => debug!(namespace = self.pod.namespace, name = self.pod.name, "pod let go"),
        }
    }

    async fn live(&self, adopted: Option<Lease>) -> Result<(), Gone> {
        let mut deleted = self.orders.clone();
        let deleted = deleted.wait_for(|orders| orders.deleting.is_some());
        let started = tokio::select! {
            biased;
            Ok(_) = deleted => None,
            started = self.start(adopted) => Some(started?),
        };
        if let Some(started) = started {
            self.serve(started).await?;
        }
        self.delete().await
    }

    /// From bound to the end of the start-up time. A pod that ended before never starts.
    async fn start(&self, adopted: Option<Lease>) -> Result<Started, Gone> {
        if self.pod.phase == Phase::Ended {
            std::future::pending::<()>().await;
        }
        let mut orders = self.orders.clone();
        let told = orders.wait_for(|orders| orders.part.is_some()).await.map_err(|_closed| Gone)?.part;
        let (settings, _) = told.ok_or(Gone)?;
        let lease = self.lease(adopted).await;
        let program = self.program(lease.address()).await?;
        let (at, ready) = match self.pod.phase {
            Phase::Running { started, ready } => (started, ready),
            Phase::Pending | Phase::Ended => {
                self.patch_status("start pod", &status::running(&self.pod, lease.address(), self.host))
                    .await?;
                (SystemTime::now(), false)
            }
        };
        let (cast, account) = self.cast(program, &settings);
        if !ready {
            let passed = at.elapsed().unwrap_or_default();
            let delay = settings.start.sample(&mut rand::rng());
            sleep(delay.saturating_sub(passed)).await;
        }
        let act = cast.begin(lease.address()).await;
        Ok(Started { lease, at, ready, act, account })
    }

    /// What the pod's played container does. A pod with one that is not played says so, and never starts.
    async fn program(&self, address: Ipv4Addr) -> Result<Program, Gone> {
        let containers = self.pod.containers.iter().enumerate();
        let not_played: Vec<_> = containers
            .filter_map(|(index, container)| match Program::of(container) {
                Program::NotPlayed(sentence) => Some((index, sentence)),
                _ => None,
            })
            .collect();
        if not_played.is_empty() {
            let played = self.pod.containers.get(Program::played(&self.pod.containers));
            return Ok(played.map_or(Program::Idle, Program::of));
        }
        for (_, sentence) in &not_played {
            warn!(namespace = self.pod.namespace, name = self.pod.name, sentence, "container not played");
        }
        let patch = status::failed(&self.pod, &not_played, address, self.host);
        self.patch_status("pod in error", &patch).await?;
        std::future::pending().await
    }

    /// Prepares what the pod will do and begins to account for it: its containers run.
    fn cast(&self, program: Program, settings: &Settings) -> (Cast, OpenAccount) {
        let limit = self.pod.containers.get(Program::played(&self.pod.containers));
        let limit = limit.and_then(super::objects::Container::cpu_limit);
        let (cast, work) = match program {
            Program::Engine { port } => {
                let serving = serving(settings);
                (Cast::Engine(port, serving.clone()), Work::Engine(serving))
            }
            Program::Web { port } => {
                let processor = Arc::new(Processor::new(limit));
                (Cast::Web(port, processor.clone()), Work::Counted(processor, web_server::BYTES))
            }
            Program::LoadGenerator { url } => {
                let processor = Arc::new(Processor::new(limit));
                let work = Work::Counted(processor.clone(), load_generator::BYTES);
                (Cast::LoadGenerator(url, processor), work)
            }
            Program::Idle | Program::NotPlayed(_) => (Cast::Idle, Work::Idle),
        };
        (cast, self.usage.open(&self.pod.uid, work, limit, self.orders.clone()))
    }

    async fn lease(&self, adopted: Option<Lease>) -> Lease {
        if let Some(lease) = adopted {
            return lease;
        }
        if let Some(address) = self.pod.address {
            // A pod's address cannot be changed, so this one can only wait for its deletion.
            warn!(name = self.pod.name, %address, "pod has the address of another pod, not served");
            std::future::pending::<()>().await;
        }
        loop {
            if let Some(lease) = self.addresses.take() {
                return lease;
            }
            warn!(name = self.pod.name, "no free address for pod, waiting");
            sleep(RETRY).await;
        }
    }

    /// From ready until a deletion's drain time is over. Listener and connections are closed on return.
    async fn serve(&self, started: Started) -> Result<(), Gone> {
        let serving = started.act.serving();
        let act = self.perform(started.act);
        let life = async {
            let containers_started = status::time(started.at);
            if !started.ready {
                let patch = status::readiness(&self.pod, true, &containers_started);
                self.patch_status("pod ready", &patch).await?;
            }
            let mut orders = self.orders.clone();
            let deleted = orders.wait_for(|orders| orders.deleting.is_some()).await;
            deleted.map_err(|_closed| Gone)?;
            let patch = status::readiness(&self.pod, false, &containers_started);
            let not_ready = async {
                // A courtesy to those who watch: it does not hold up the end.
                let _ = self.patch_status("pod not ready", &patch).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = not_ready => {}
                () = self.drained(serving.as_deref()) => {}
            }
            Ok(())
        };
        let ended = tokio::select! {
            ended = life => ended,
            () = act => Ok(()),
        };
        drop((started.account, started.lease));
        ended
    }

    /// Waits for the end of the drain time, counted from now. Both it and the grace period may still change.
    async fn drained(&self, serving: Option<&Serving>) {
        let begun = Instant::now();
        let idle = async {
            match serving {
                Some(serving) => serving.idle(QUIET).await,
                None => sleep(TERMINATE).await,
            }
        };
        let mut idle = std::pin::pin!(idle);
        let mut orders = self.orders.clone();
        loop {
            let Orders { part, deleting } = *orders.borrow_and_update();
            let wanted = part.and_then(|(settings, _)| settings.terminate);
            let drain = wanted.unwrap_or(Duration::MAX).min(deleting.unwrap_or_default());
            tokio::select! {
                () = sleep(drain.saturating_sub(begun.elapsed())) => return,
                () = &mut idle, if wanted.is_none() => return,
                Ok(()) = orders.changed() => {}
            }
        }
    }

    /// Does what the pod does; ends only when there is nothing to do it by.
    async fn perform(&self, act: Act) {
        let never: Infallible = match act {
            Act::Engine(listener, serving) => return self.run_engine(listener, serving).await,
            Act::Web(listener, processor) => web_server::serve(listener, processor).await,
            Act::LoadGenerator(url, processor) => {
                let name = format!("{}/{}", self.pod.namespace, self.pod.name);
                let (host, port) = (url.host().unwrap_or_default(), url.port_u16().unwrap_or(80));
                let resolve = || {
                    let found = self.directory.resolve(&self.pod.namespace, host, port);
                    found.map_err(|problem| problem.to_string())
                };
                load_generator::run(&name, &url, processor, resolve).await
            }
            Act::Idle => std::future::pending().await,
        };
        match never {}
    }

    /// Runs the mock engine with the script that the orders contain. Ends only if it cannot be served at all.
    async fn run_engine(&self, listener: TcpListener, serving: Option<Arc<Serving>>) {
        let mut orders = self.orders.clone();
        let Some((_, script)) = orders.borrow_and_update().part else {
            return;
        };
        let (relay, script) = watch::channel(script);
        let relayed = async {
            while orders.changed().await.is_ok() {
                let Some((_, script)) = orders.borrow_and_update().part else {
                    continue;
                };
                relay.send_if_modified(|now| std::mem::replace(now, script) != script);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            Err(error) = mock_engine::serve(listener, script, serving) => {
                warn!(name = self.pod.name, %error, "mock engine cannot be served");
                std::future::pending::<()>().await;
            }
            () = relayed => {}
        }
    }

    async fn patch_status(&self, what: &str, patch: &Value) -> Result<(), Gone> {
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let call = || self.api.patch_status(&self.pod.name, &params, &patch);
        self.calls.persist(what, call).await.map(drop)
    }

    /// Takes the pod out of the API: the containers have ended.
    async fn delete(&self) -> Result<(), Gone> {
        let same = Preconditions { uid: Some(self.pod.uid.clone()), resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(same);
        let call = || self.api.delete(&self.pod.name, &params);
        self.calls.persist("delete pod", call).await.map(drop)
    }
}

/// What a pod will do once its start-up time is over; see [`Act`].
enum Cast {
    Engine(u16, Option<Arc<Serving>>),
    Web(u16, Arc<Processor>),
    LoadGenerator(http::Uri, Arc<Processor>),
    Idle,
}

impl Cast {
    /// Servers listen from here on.
    async fn begin(self, address: Ipv4Addr) -> Act {
        match self {
            Self::Engine(port, serving) => Act::Engine(listen((address, port).into()).await, serving),
            Self::Web(port, processor) => Act::Web(listen((address, port).into()).await, processor),
            Self::LoadGenerator(url, processor) => Act::LoadGenerator(url, processor),
            Self::Idle => Act::Idle,
        }
    }
}

/// The engine of a pod that is told to serve requests.
fn serving(settings: &Settings) -> Option<Arc<Serving>> {
    match settings.mode {
        Mode::Scripted => None,
        Mode::Engine => settings.model.map(Serving::new),
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => warn!(%address, %error, "cannot listen for pod, trying again"),
        }
        sleep(RETRY).await;
    }
}
