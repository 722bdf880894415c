//! Counts that stand in the object itself: of a kind without `/scale`, or of a role.

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;

use super::{FIELD_MANAGER, WriteError, Writer};
use crate::autoscaler::ScaleRequest;
use crate::journal::Verb;
use crate::target::{self, CountPatch};

impl Writer {
    /// Patches the count, if the object still says what the decision started from. The resourceVersion in the patch makes
    /// it a compare-and-swap: nobody's change is overwritten.
    pub(super) async fn try_count(
        &self,
        api: &Api<DynamicObject>,
        request: &ScaleRequest,
    ) -> Result<u32, WriteError> {
        let (name, resource) = (&request.target.name, &request.resource.plural);
        let object = self.in_time(Verb::Get, resource, api.get(name)).await?;
        if object.metadata.uid.as_deref() != Some(request.uid.as_str()) {
            return Err(WriteError::Replaced);
        }
        let count = |object: &DynamicObject| target::count(&object.data["spec"], &request.target);
        let (at, current) = count(&object).map_err(WriteError::NoCount)?;
        if current != request.from {
            return Err(WriteError::Overtaken(current));
        }
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = match target::patch(&object, &request.target, at, request.to) {
            CountPatch::Merge(patch) => Patch::Merge(patch),
            CountPatch::Json(patch) => {
                let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
                Patch::Json(patch)
            }
        };
        // The term is looked at again here: the read may have taken long.
        let written = self.in_time(Verb::Patch, resource, api.patch(name, &params, &patch)).await?;
        let (_, replicas) = count(&written).map_err(WriteError::NoCount)?;
        if replicas == request.to { Ok(replicas) } else { Err(WriteError::Altered(replicas)) }
    }
}
