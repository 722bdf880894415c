//! What a scrape costs the engine: the real Python exporter with a registry like vLLM's, asked for all and for a few
//! names. No control plane, no controller; the exporter's numbers are set, no engine stands behind them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use windlass_metrics::{Catalogue, Format, Readings, Wanted};

/// Before measuring: the interpreter specialises what runs often.
const WARM: usize = 50;

/// Two processes show a gauge only when it was set.
const SET: &str = r#"{"gauges": {
    "num_requests_running": {"llama2-70b": 5, "text2sql-lora-2": 7},
    "num_requests_waiting": {"llama2-70b": 3, "text2sql-lora-2": 0},
    "kv_cache_usage_perc": {"llama2-70b": 0.25, "text2sql-lora-2": 0.75}
}}"#;

/// How often each page is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Scrapes of each kind.
    #[arg(long, default_value_t = 1000)]
    scrapes: usize,
}

/// The exporter, and one kept connection to it.
struct Exporter {
    _process: Child,
    connection: SendRequest<Full<Bytes>>,
    shared: Option<PathBuf>,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(folder) = &self.shared {
            _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Exporter {
    /// In one process, or in two that share their values.
    async fn start(processes: usize) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scrape/tests/exporter");
        let setup = Command::new(folder.join("setup.sh")).stderr(Stdio::inherit()).output().await?;
        ensure!(setup.status.success(), "there is no Python exporter to measure");
        let shared = (processes > 1)
            .then(|| std::env::temp_dir().join(format!("windlass-exporter-{}", std::process::id())));
        let mut command = Command::new(String::from_utf8(setup.stdout)?.trim());
        command.arg(folder.join("exporter.py")).env_remove("PROMETHEUS_MULTIPROC_DIR").kill_on_drop(true);
        if let Some(shared) = &shared {
            std::fs::create_dir_all(shared)?;
            command.env("PROMETHEUS_MULTIPROC_DIR", shared);
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().context("the exporter has no output")?;
        BufReader::new(stdout).read_line(&mut line).await?;
        let port = line.trim().parse().context("the exporter tells no port")?;
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self { _process: process, connection, shared })
    }

    async fn ask(&mut self, method: &str, path: &str, body: &'static str) -> anyhow::Result<Bytes> {
        self.connection.ready().await?;
        let request =
            Request::builder().method(method).uri(path).header("accept", "text/plain;version=0.0.4");
        let answer = self.connection.send_request(request.body(Full::from(body))?).await?;
        ensure!(answer.status().is_success(), "{path} answers {}", answer.status());
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    /// Processor time of the exporter's process so far, in seconds, by its own clock.
    async fn cpu(&mut self) -> anyhow::Result<f64> {
        let usage: serde_json::Value = serde_json::from_slice(&self.ask("GET", "/usage", "").await?)?;
        usage["cpu"].as_f64().context("the exporter tells no processor time")
    }

    /// Bytes of the page at `path`, and processor seconds that one answer costs.
    async fn measure(&mut self, path: &str, scrapes: usize) -> anyhow::Result<(usize, f64)> {
        let mut bytes = 0;
        for _ in 0..WARM {
            bytes = self.ask("GET", path, "").await?.len();
        }
        let before = self.cpu().await?;
        for _ in 0..scrapes {
            self.ask("GET", path, "").await?;
        }
        Ok((bytes, (self.cpu().await? - before) / scrapes as f64))
    }
}

/// The page with `names` alone: those that readings of these metrics need of the page `full`.
fn path(metrics: &[&str], full: &[u8]) -> anyhow::Result<String> {
    let metrics: Vec<_> =
        metrics.iter().map(|name| Catalogue::builtin().resolve(name)).collect::<Result<_, _>>()?;
    let wanted = Wanted::for_engine(&metrics, "vllm");
    let mut readings = Readings::default();
    wanted.read(full, Format::Text, &mut readings)?;
    ensure!(readings.iter().all(Option::is_some), "the page lacks something");
    let names = wanted.sample_names_for(&readings).into_iter().map(|name| format!("name[]={name}"));
    Ok(format!("/metrics?{}", names.collect::<Vec<_>>().join("&")))
}

/// Measures and prints a row per page.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "{:<12} {:<34} {:>8} {:>12} {:>16} {:>10} {:>12}",
        "exporter", "asked for", "bytes", "CPU", "beyond no page", "fewer bytes", "less CPU"
    );
    for (processes, title) in [(1, "one process"), (2, "two")] {
        let mut exporter = Exporter::start(processes).await?;
        exporter.ask("POST", "/set", SET).await?;
        let (_, nothing) = exporter.measure("/empty", arguments.scrapes).await?;
        let page = exporter.ask("GET", "/metrics", "").await?;
        let mut full = None;
        for (what, path) in [
            ("everything", "/metrics".to_owned()),
            ("three gauges", path(&["running", "waiting", "kv_util"], &page)?),
            ("three gauges and one histogram", path(&["running", "waiting", "kv_util", "ttft"], &page)?),
        ] {
            let (bytes, cpu) = exporter.measure(&path, arguments.scrapes).await?;
            let (all, most) = *full.get_or_insert((bytes, cpu - nothing));
            print!(
                "{title:<12} {what:<34} {bytes:>8} {:>9.3} ms {:>13.3} ms",
                cpu * 1e3,
                (cpu - nothing) * 1e3
            );
            if bytes == 0 {
                println!("   nothing is there");
            } else {
                println!(" {:>10.0} × {:>10.1} ×", all as f64 / bytes as f64, most / (cpu - nothing));
            }
        }
        println!("{title:<12} {:<34} {:>8} {:>9.3} ms", "no page (the server alone)", 0, nothing * 1e3);
    }
    Ok(())
}
