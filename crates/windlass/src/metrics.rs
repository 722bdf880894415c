//! `windlass metrics`: what is seen of one engine. It writes nothing.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use windlass_api::image;
use windlass_api::{PathRule, PortRule};
use windlass_metrics::{Catalogue, Format, Metric};
use windlass_scrape::survey::{Question, Survey, meaning, survey_endpoint, survey_page};
use windlass_scrape::{Access, Credentials, Endpoint, Host, TlsOptions};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A pod of the kubeconfig's cluster (NAME or NAMESPACE/NAME; read at its address, so from inside of the network of
    /// pods), a URL, a file with a page that was saved, or - for standard input. What exists as a file is one.
    #[arg(value_name = "POD|URL|FILE|-", required_unless_present_any = ["list", "metrics"])]
    subject: Option<String>,
    /// The pod's namespace, where its name does not say it.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The port of the pod's page, as an object's `port` says it; by default what the pod itself says, as the controller does.
    #[arg(long)]
    port: Option<u16>,
    /// The path of the pod's page, likewise; begins with a slash.
    #[arg(long)]
    path: Option<String>,
    /// Only this metric, and what its name stands for; any name that targetMetric may have. May be given several times.
    #[arg(short, long = "metric", value_name = "NAME")]
    metrics: Vec<String>,
    /// Print the whole catalogue, as Markdown.
    #[arg(long, conflicts_with_all = ["subject", "metrics"])]
    list: bool,
    /// How far apart the two readings of a pod or URL are, which rates need.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// A TOML file that extends the catalogue, as the controller is given it.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let catalogue = crate::catalogue(arguments.catalogue.as_deref())?;
    if arguments.list {
        return printed(&catalogue.markdown());
    }
    let look_up = |name: &String| catalogue.resolve(name).with_context(|| format!("--metric {name}"));
    let named: Vec<Metric> = arguments.metrics.iter().map(look_up).collect::<Result<_, _>>()?;
    let Some(subject) = &arguments.subject else {
        let meanings: Vec<String> = named.iter().map(|metric| meaning(metric, None)).collect();
        return printed(&meanings.concat());
    };
    let metrics = if named.is_empty() { catalogue.metrics() } else { &named };
    let survey = survey(&arguments, subject, &catalogue, metrics).await?;
    let engine = survey.detected.as_ref().map(|detected| detected.engine.as_str());
    let mut text = String::new();
    for metric in &named {
        writeln!(text, "{}", meaning(metric, engine))?;
    }
    write!(text, "{survey}")?;
    printed(&text)
}

/// Who reads only the beginning, as `head` does, has what it wants.
fn printed(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn survey(
    arguments: &Arguments,
    subject: &str,
    catalogue: &Arc<Catalogue>,
    metrics: &[Metric],
) -> anyhow::Result<Survey> {
    let question = Question { catalogue, metrics, labels: &[], version: None };
    let apart = Duration::from_secs(arguments.seconds);
    let path = Path::new(subject);
    if subject == "-" || path.exists() && !path.is_dir() {
        let mut page = Vec::new();
        match subject {
            "-" => std::io::stdin().read_to_end(&mut page).map(drop),
            path => std::fs::read(path).map(|text| page = text),
        }
        .with_context(|| format!("{subject} cannot be read"))?;
        // What `# EOF` ends is OpenMetrics; a file has no content type.
        let format =
            if page.trim_ascii_end().ends_with(b"\n# EOF") { Format::OpenMetrics } else { Format::Text };
        return survey_page(question, &page, format, subject)
            .with_context(|| format!("{subject} is not a metrics page"));
    }
    if subject.contains("://") {
        let endpoint = endpoint_of(subject)?;
        return survey_endpoint(question, &endpoint, apart).await.with_context(|| subject.to_owned());
    }
    let pod = pod(subject, arguments.namespace.as_deref()).await?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        bail!("pod {subject} has no address yet; wait until it runs");
    };
    let port = arguments.port.map_or(PortRule::Discover, PortRule::Fixed).of(&pod);
    let path = arguments.path.clone().unwrap_or_else(|| PathRule::Discover.of(&pod));
    let endpoint = Endpoint::http((address, port).into(), &path);
    let labels: Vec<(String, String)> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    let version = image::version_of(&pod, port);
    let question = Question { labels: &labels, version: version.as_deref(), ..question };
    let survey = survey_endpoint(question, &endpoint, apart).await;
    survey.with_context(|| format!("pod {subject}, http://{}{}", endpoint.host, endpoint.path))
}

/// `http` and `https`; certificates are those the system trusts.
fn endpoint_of(url: &str) -> anyhow::Result<Endpoint> {
    let uri: http::Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
    let access = match uri.scheme_str() {
        Some("http") => None,
        Some("https") => {
            let access = Access::new(TlsOptions::default());
            access.provide(Ok(Credentials::default()));
            Some(Arc::new(access))
        }
        _ => bail!("{url}: only http:// and https:// are read"),
    };
    let host = uri.host().with_context(|| format!("{url} names no host"))?.to_owned();
    let port = uri.port_u16().unwrap_or(if access.is_some() { 443 } else { 80 });
    let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
        "/" => "/metrics".to_owned(),
        path => path.to_owned(),
    };
    Ok(Endpoint { host: Host::Name { host, port }, path, access })
}

async fn pod(subject: &str, namespace: Option<&str>) -> anyhow::Result<Pod> {
    let config = kube::Config::infer().await.with_context(|| {
        format!("{subject} is no file, and there is no cluster: set KUBECONFIG or give a URL")
    })?;
    let (within, name) = match subject.split_once('/') {
        Some((own, _)) if namespace.is_some_and(|namespace| namespace != own) => {
            bail!("{subject} names another namespace than -n does; leave one of them out")
        }
        Some((own, name)) => (own.to_owned(), name),
        None => (namespace.map_or_else(|| config.default_namespace.clone(), str::to_owned), subject),
    };
    let client = Client::try_from(windlass_controller::with_timeouts(config))
        .context("the cluster's configuration cannot be used")?;
    let api: Api<Pod> = Api::namespaced(client, &within);
    let found = api.get_opt(name).await.with_context(|| format!("pod {within}/{name} cannot be read"))?;
    found.with_context(|| {
        format!("there is neither a file {subject} nor a pod {name} in namespace {within}; -n names another namespace")
    })
}
