//! `windlass metrics`: what is seen of one engine. It writes nothing.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use windlass_api::image;
use windlass_api::{PathRule, PortRule};
use windlass_metrics::{Catalogue, Format, Metric};
use windlass_scrape::survey::{Question, Survey, meaning, survey_endpoint, survey_page};
use windlass_scrape::{Access, Credentials, Endpoint, Host, TlsOptions};

/// How what gzip packed begins (RFC 1952).
const GZIP: &[u8] = &[0x1f, 0x8b];

#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 if there is a page, and each --metric has a reading on it; 1 if not, or if it cannot be read."
)]
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
    #[arg(long, value_parser = rooted)]
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

fn rooted(path: &str) -> Result<String, String> {
    if path.starts_with('/') { Ok(path.to_owned()) } else { Err(format!("it begins with a slash: /{path}")) }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let catalogue = crate::catalogue(arguments.catalogue.as_deref())?;
    if arguments.list {
        return crate::printed(&catalogue.markdown()).map(|()| ExitCode::SUCCESS);
    }
    let look_up = |name: &String| catalogue.resolve(name).with_context(|| format!("--metric {name}"));
    let named: Vec<Metric> = arguments.metrics.iter().map(look_up).collect::<Result<_, _>>()?;
    let Some(subject) = &arguments.subject else {
        let meanings: Vec<String> = named.iter().map(|metric| meaning(metric, None)).collect();
        return crate::printed(&meanings.concat()).map(|()| ExitCode::SUCCESS);
    };
    let metrics = if named.is_empty() { catalogue.metrics() } else { &named };
    let survey = survey(&arguments, subject, &catalogue, metrics).await?;
    let engine = survey.detected.as_ref().map(|detected| detected.engine.as_str());
    let mut text = String::new();
    for metric in &named {
        writeln!(text, "{}", meaning(metric, engine))?;
    }
    write!(text, "{survey}")?;
    crate::printed(&text)?;
    let lacks = !named.is_empty() && !survey.is_complete();
    Ok(if lacks { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is looked at.
enum Subject<'a> {
    /// A file with a page, or standard input.
    Page(&'a str),
    Url(&'a str),
    Pod(&'a str),
}

impl<'a> Subject<'a> {
    /// What exists as a file is one; what else can be a pod's name is a pod.
    fn of(text: &'a str) -> anyhow::Result<Self> {
        let path = Path::new(text);
        let is_name = |part: &str| {
            let of_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
            part.bytes().all(of_name) && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        Ok(if text == "-" || path.exists() && !path.is_dir() {
            Self::Page(text)
        } else if text.contains("://") {
            Self::Url(text)
        } else if is_name(namespace) && is_name(name) {
            Self::Pod(text)
        } else if path.is_dir() {
            bail!("{text} is a directory; name a file in it")
        } else if text.contains(':') {
            bail!("{text} is no file; if it is a URL, begin it with http:// or https://")
        } else {
            bail!("there is no file {text}, and no pod can have such a name")
        })
    }
}

impl Arguments {
    /// The options that say where a pod's page is say nothing of what is no pod.
    fn only_for_pods(&self, what: &str) -> anyhow::Result<()> {
        let given = [
            ("--namespace", self.namespace.is_some()),
            ("--port", self.port.is_some()),
            ("--path", self.path.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => bail!("{option} is for pods, and this is {what}; leave it out"),
            None => Ok(()),
        }
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
    let pod_name = match Subject::of(subject)? {
        Subject::Page(file) => {
            arguments.only_for_pods("a page that was saved")?;
            return of_page(question, file, &saved(file)?);
        }
        Subject::Url(url) => {
            arguments.only_for_pods("a URL, which says that itself")?;
            let survey = survey_endpoint(question, &endpoint_of(url)?, apart).await;
            return survey.map_err(|error| anyhow!("{url}: {error}"));
        }
        Subject::Pod(name) => name,
    };
    let pod = pod(pod_name, arguments.namespace.as_deref()).await?;
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        bail!("pod {pod_name} has no address yet; wait until it runs");
    };
    let port = arguments.port.map_or(PortRule::Discover, PortRule::Fixed).of(&pod);
    let path = arguments.path.clone().unwrap_or_else(|| PathRule::Discover.of(&pod, catalogue));
    let endpoint = Endpoint::http((address, port).into(), &path);
    let labels: Vec<(String, String)> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    let version = image::version_of(&pod, port);
    let question = Question { labels: &labels, version: version.as_deref(), ..question };
    let survey = survey_endpoint(question, &endpoint, apart).await;
    survey.map_err(|error| anyhow!("pod {pod_name}, http://{}{}: {error}", endpoint.host, endpoint.path))
}

fn saved(file: &str) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    let read = match file {
        "-" => std::io::stdin().read_to_end(&mut page).map(drop),
        path => std::fs::read(path).map(|text| page = text),
    };
    read.with_context(|| format!("{file} cannot be read"))?;
    Ok(page)
}

fn of_page(question: Question<'_>, file: &str, page: &[u8]) -> anyhow::Result<Survey> {
    if page.trim_ascii().is_empty() {
        bail!("{file} is empty, so it is no metrics page");
    }
    if page.starts_with(GZIP) {
        bail!("{file} is packed by gzip; unpack it first");
    }
    // What `# EOF` ends is OpenMetrics; a file has no content type.
    let format = if page.trim_ascii_end().ends_with(b"\n# EOF") { Format::OpenMetrics } else { Format::Text };
    survey_page(question, page, format, file).map_err(|error| anyhow!("{file}: {error}"))
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
    let config = crate::cluster()
        .await
        .map_err(|error| anyhow!("{subject} is no file, and {error}, or give a URL"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Question<'static> {
        let catalogue = Catalogue::builtin();
        Question { catalogue, metrics: catalogue.metrics(), labels: &[], version: None }
    }

    #[test]
    fn what_is_no_page_is_one_sentence() {
        let check = |page: &[u8], sentence: &str| {
            let error = of_page(ask(), "p", page).unwrap_err();
            assert_eq!(format!("{error:#}"), sentence);
        };
        check(b"\n", "p is empty, so it is no metrics page");
        check(b"\x1f\x8b\x08", "p is packed by gzip; unpack it first");
        check(
            b"<html>\n",
            "p: not a valid metrics page: line 1: expected a metric name or a comment (near \"<html>\\n\")",
        );
        let error = saved("/no/such/file").unwrap_err();
        assert_eq!(error.to_string(), "/no/such/file cannot be read");
    }

    #[test]
    fn options_of_pods_are_for_pods() {
        use clap::Parser;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let check = |options: &[&str], expect: Option<&str>| {
            let line = Line::parse_from([&["metrics", "x"], options].concat());
            let error = line.arguments.only_for_pods("a URL").err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), expect);
        };
        check(&["--seconds", "2"], None);
        check(&["--path", "/x"], Some("--path is for pods, and this is a URL; leave it out"));
        check(&["-n", "x"], Some("--namespace is for pods, and this is a URL; leave it out"));
        check(&["--port", "1"], Some("--port is for pods, and this is a URL; leave it out"));
    }

    #[test]
    fn what_is_looked_at() {
        let check = |text: &str, expect: &str| {
            let found = match Subject::of(text) {
                Ok(Subject::Page(page)) => format!("page {page}"),
                Ok(Subject::Url(url)) => format!("url {url}"),
                Ok(Subject::Pod(pod)) => format!("pod {pod}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expect);
        };
        check("-", "page -");
        check("Cargo.toml", "page Cargo.toml");
        check("http://a:1/x", "url http://a:1/x");
        check("engine-0", "pod engine-0");
        check("prod/engine-0", "pod prod/engine-0");
        check("src", "pod src");
        check("./src", "./src is a directory; name a file in it");
        check(
            "a:8000/metrics",
            "a:8000/metrics is no file; if it is a URL, begin it with http:// or https://",
        );
        check("./No_such", "there is no file ./No_such, and no pod can have such a name");
    }
}
