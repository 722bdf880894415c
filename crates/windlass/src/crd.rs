//! `windlass crd`

pub(crate) fn run() -> anyhow::Result<()> {
    print!("{}", windlass_api::crd::yaml()?);
    Ok(())
}
