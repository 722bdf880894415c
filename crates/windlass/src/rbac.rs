//! `windlass rbac`

use anyhow::Context;
use windlass_api::rbac::{Rbac, Target};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the controller runs.
    #[arg(long, default_value = "windlass-system", value_parser = label)]
    namespace: String,
    /// The Lease of the election (`windlass controller --lease-name`).
    #[arg(long, default_value = "windlass-controller", value_parser = label)]
    lease_name: String,
    /// A further kind to scale, as GROUP/RESOURCE; may be given several times. The kinds of `apps` and AIBrix's are there
    /// without being named.
    #[arg(long, value_name = "GROUP/RESOURCE")]
    target: Vec<String>,
    /// The same for a kind without a /scale subresource: the right to patch its objects.
    #[arg(long, value_name = "GROUP/RESOURCE")]
    target_without_scale: Vec<String>,
    /// The right to read Secrets of every namespace, for metric sources with bearerTokenSecret or caBundleSecret. A Role in
    /// each namespace that names the Secrets is the narrower way.
    #[arg(long)]
    secrets: bool,
}

/// What would have to be quoted in YAML is no name.
fn label(text: &str) -> Result<String, String> {
    let valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    if text.bytes().all(valid) && text.starts_with(|first: char| first.is_ascii_lowercase()) {
        Ok(text.to_owned())
    } else {
        Err("write it in lower-case letters, digits, '-' and '.', beginning with a letter".to_owned())
    }
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let with_scale = arguments.target.iter().map(|text| ("--target", Target::parse(text, true)));
    let without = arguments
        .target_without_scale
        .iter()
        .map(|text| ("--target-without-scale", Target::parse(text, false)));
    let targets = with_scale.chain(without).map(|(flag, target)| target.context(flag));
    let rbac = Rbac {
        targets: targets.collect::<anyhow::Result<_>>()?,
        namespace: arguments.namespace,
        lease: arguments.lease_name,
        secrets: arguments.secrets,
    };
    crate::printed(&rbac.yaml())
}
