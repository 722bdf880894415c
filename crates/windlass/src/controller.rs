//! `windlass controller`

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use http::header::{HeaderValue, USER_AGENT};
use tracing_subscriber::EnvFilter;
use windlass_controller::{Admin, CatalogueFile, Election, Options, Shares, Timing, TimingError};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is logged, as `tracing` filters are written.
    #[arg(long, env = "WINDLASS_LOG", default_value = "info")]
    log: String,
    /// Log as JSON, one object per line.
    #[arg(long)]
    log_json: bool,
    /// End when standard input ends: for supervisors that hold a pipe and may be killed.
    #[arg(long)]
    exit_with_stdin: bool,
    /// Act only on `PodAutoscaler`s with these labels, as `kubectl --selector` has them. Several controllers can share
    /// a cluster so, a canary for instance; each group of them needs a Lease of its own (`--lease-name`).
    #[arg(long)]
    selector: Option<String>,
    /// Only recommend: write nothing, not even a status, an event or a Lease, and so be safe beside another autoscaler.
    /// What would be done is in the log, in /metrics and in /debug/state. There is no election then.
    #[arg(long)]
    recommend_only: bool,
    /// kube-controller-manager's `--horizontal-pod-autoscaler-sync-period`: how long a HorizontalPodAutoscaler that is gone
    /// may still have a write under way, so that strategies KPA and APA take over after it.
    #[arg(long, default_value = "15s", value_parser = span)]
    hpa_sync_period: Duration,
    #[command(flatten)]
    reading: ReadingArguments,
    /// A TOML file that extends the catalogue of engines' metrics (docs/catalogue.md), a mounted `ConfigMap` for instance.
    /// It is followed: what changes in it is in force within seconds, and a wrong version is refused and said.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Where /metrics, /livez, /readyz and /debug/state are answered; "" for nowhere.
    #[arg(long, default_value = "127.0.0.1:8080")]
    admin_address: String,
    #[command(flatten)]
    election: ElectionArguments,
}

/// How often pods' metrics pages are read.
#[derive(clap::Args)]
struct ReadingArguments {
    /// How much of a core reading its metrics pages may cost each engine: 0.1% or 0.001. Where a page is dear, it is read
    /// less often: down to once in 2 s, and once a second where a decision is close, whatever that costs.
    #[arg(long, default_value = "0.1%", value_parser = engine_share)]
    engine_cpu_share: f64,
    /// How much of a core this process may use before pages are read less often: 50%, 0.5, or 2 for two cores.
    #[arg(long, default_value = "50%", value_parser = share)]
    own_cpu_share: f64,
    /// Read every page once a second, whatever happens and whatever it costs.
    #[arg(long)]
    no_attention: bool,
}

impl ReadingArguments {
    fn shares(&self) -> Option<Shares> {
        let shares = Shares { engine: self.engine_cpu_share, own: self.own_cpu_share };
        (!self.no_attention).then_some(shares)
    }
}

#[derive(clap::Args)]
struct ElectionArguments {
    /// Of all controllers only the one that holds the Lease acts; the others are ready to take over. On by default
    /// also outside of a cluster: a second controller, started by mistake or to try something, must not fight.
    #[arg(
        long,
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    leader_elect: bool,
    /// How long the Lease must not have changed before another controller takes it. Whole seconds.
    #[arg(long, default_value = "15s", value_parser = span)]
    lease_duration: Duration,
    /// How long a leader that cannot renew the Lease goes on.
    #[arg(long, default_value = "10s", value_parser = span)]
    renew_deadline: Duration,
    /// How often the Lease is renewed, or looked at.
    #[arg(long, default_value = "2s", value_parser = span)]
    retry_period: Duration,
    /// The Lease.
    #[arg(long, default_value = "windlass-controller")]
    lease_name: String,
    /// The Lease's namespace; by default the pod's own, or the kubeconfig's.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// This controller's name in the Lease, which no other may have; by default the host's name and a random number.
    #[arg(long)]
    identity: Option<String>,
}

impl ElectionArguments {
    fn timing(&self) -> Result<Timing, TimingError> {
        let Self { lease_duration, renew_deadline, retry_period, .. } = *self;
        Timing { lease_duration, renew_deadline, retry_period }.validated()
    }

    fn election(self, timing: Timing, default_namespace: &str) -> Option<Election> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        self.leader_elect.then(|| Election {
            namespace: given(self.lease_namespace).unwrap_or_else(|| default_namespace.to_owned()),
            name: self.lease_name,
            identity: given(self.identity).unwrap_or_else(identity),
            timing,
        })
    }
}

/// A span as Kubernetes writes it: `15s`, `1m30s`, `500ms`.
fn span(text: &str) -> Result<Duration, String> {
    let span: kube::core::Duration =
        text.parse().map_err(|error| format!("{error}; write it as 15s or 500ms"))?;
    if span.is_negative() { Err("it is negative".to_owned()) } else { Ok(span.into()) }
}

/// A part of a core: `0.1%` or `0.001`.
fn share(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    share
        .filter(|share| share.is_finite() && *share > 0.0)
        .ok_or_else(|| "it is not a part of a core above 0; write it as 0.1% or 0.001".to_owned())
}

/// The same of an engine.
fn engine_share(text: &str) -> Result<f64, String> {
    let of_one_core = |share: &f64| *share <= 1.0;
    share(text).and_then(|share| {
        Some(share).filter(of_one_core).ok_or_else(|| {
            "it is more than a core; write what reading may cost an engine as 0.1% or 0.001".to_owned()
        })
    })
}

fn identity() -> String {
    let host =
        hostname::get().map_or_else(|_| "windlass".to_owned(), |host| host.to_string_lossy().into_owned());
    format!("{host}_{:016x}", rand::random::<u64>())
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log).context("--log is not a valid filter")?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if arguments.log_json {
        subscriber.json().init();
    } else {
        subscriber.with_ansi(false).init();
    }
    end_with_any_panic();
    let timing = arguments.election.timing()?;
    let catalogue = arguments.catalogue.as_deref().map(CatalogueFile::open).transpose()?;
    let config = kube::Config::infer().await.context("no cluster: set KUBECONFIG or run inside one")?;
    let mut config = windlass_controller::with_timeouts(config);
    let recommend_only = arguments.recommend_only;
    let election = arguments.election.election(timing, &config.default_namespace).filter(|_| !recommend_only);
    config.headers.push((USER_AGENT, user_agent(election.as_ref())?));
    let url = config.cluster_url.to_string();
    let client = kube::Client::try_from(config).context("the cluster's configuration cannot be used")?;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, url, leader_elect = election.is_some(), recommend_only, "controller starts");
    let admin = match arguments.admin_address.as_str() {
        "" => None,
        address => Some(Admin::bind(address).await?),
    };
    if let Some(admin) = &admin {
        tracing::info!(address = %admin.address()?, "answers /metrics, /livez, /readyz and /debug/state");
    }
    let mut signals = crate::Signals::listen().context("signals cannot be awaited")?;
    let shutdown = async {
        let signalled = tokio::select! {
            () = signals.next() => true,
            () = stdin_ended(arguments.exit_with_stdin) => false,
        };
        tracing::info!("controller stops; a second signal ends it at once");
        tokio::spawn(async move {
            if !signalled {
                // Who ends its input and signals as well means one and the same.
                signals.next().await;
            }
            signals.next().await;
            std::process::exit(1);
        });
    };
    let options = Options {
        election,
        selector: arguments.selector,
        recommend_only,
        hpa_sync_period: Some(arguments.hpa_sync_period),
        shares: arguments.reading.shares(),
        catalogue,
        admin,
    };
    windlass_controller::run(client, options, shutdown).await?;
    tracing::info!("controller stopped");
    Ok(())
}

/// How the API server's audit log names this controller: with its identity, where there may be several.
fn user_agent(election: Option<&Election>) -> anyhow::Result<HeaderValue> {
    let version = env!("CARGO_PKG_VERSION");
    let name = match election {
        Some(election) => format!("windlass/{version} ({})", election.identity),
        None => format!("windlass/{version}"),
    };
    HeaderValue::from_str(&name).context("--identity has characters that no header can carry")
}

/// A task that panicked unseen would leave the process half alive. Only a decision may panic: its target is quarantined.
fn end_with_any_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if !windlass_controller::is_deciding() {
            std::process::exit(101);
        }
    }));
}

/// Completes when standard input has ended; never, unless that is `wanted`.
async fn stdin_ended(wanted: bool) {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    if wanted {
        // A thread of its own: tokio's would keep the process from ending for another reason.
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            drop(ended);
        });
        let _ = end.await;
    } else {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percents_or_parts() {
        for (text, own, engine) in [
            ("0.1%", Some(0.001), Some(0.001)),
            ("0.001", Some(0.001), Some(0.001)),
            ("50 %", Some(0.5), Some(0.5)),
            ("2", Some(2.0), None),
            ("0", None, None),
            ("-1%", None, None),
            ("NaN", None, None),
            ("%", None, None),
            ("half", None, None),
        ] {
            assert_eq!((share(text).ok(), engine_share(text).ok()), (own, engine), "{text:?}");
        }
    }
}
