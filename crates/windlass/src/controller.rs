//! `windlass controller`

use std::io::Read;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

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
    let config = kube::Config::infer().await.context("no cluster: set KUBECONFIG or run inside one")?;
    let url = config.cluster_url.to_string();
    let client = kube::Client::try_from(config).context("the cluster's configuration cannot be used")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), url, "controller starts");
    let shutdown = async {
        tokio::select! {
            outcome = crate::interrupted() => {
                if let Err(error) = outcome {
                    tracing::error!(%error, "signals cannot be awaited");
                }
            }
            () = stdin_ended(arguments.exit_with_stdin) => {}
        }
        tracing::info!("controller stops");
    };
    windlass_controller::run(client, shutdown).await?;
    Ok(())
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
