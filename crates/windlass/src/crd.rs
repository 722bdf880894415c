//! `windlass crd`

pub(crate) fn run() -> anyhow::Result<()> {
    crate::printed(&windlass_api::crd::yaml()?)
}
