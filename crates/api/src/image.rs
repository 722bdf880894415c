//! What an image's reference tells of what is in it.

use k8s_openapi::api::core::v1::{Container, Pod};

/// The tag of an image, taken for the version: `v0.11.0` of `vllm/vllm-openai:v0.11.0`. None where there is none, and of
/// `latest`, which says nothing.
///
/// ```
/// use windlass_api::image::version;
/// assert_eq!(version("vllm/vllm-openai:v0.11.0"), Some("v0.11.0"));
/// assert_eq!(version("registry:5000/tgi:3.3@sha256:0123"), Some("3.3"));
/// assert_eq!(version("registry:5000/tgi"), None);
/// assert_eq!(version("tgi:latest"), None);
/// ```
pub fn version(image: &str) -> Option<&str> {
    let named = image.split('@').next().unwrap_or_default();
    let (_, tag) = named.rsplit('/').next()?.split_once(':')?;
    (!tag.is_empty() && tag != "latest").then_some(tag)
}

/// The version of what answers at `port` of a pod, by its image: of the container that declares the port, else of the only
/// one.
pub fn version_of(pod: &Pod, port: u16) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let declares = |container: &&Container| {
        container.ports.iter().flatten().any(|declared| declared.container_port == i32::from(port))
    };
    let only = || containers.first().filter(|_| containers.len() == 1);
    let container = containers.iter().find(declares).or_else(only)?;
    version(container.image.as_deref()?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_behind_the_port_counts() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "sidecar", "image": "proxy:1.2", "ports": [{"containerPort": 8080}]},
            {"name": "engine", "image": "vllm/vllm-openai:v0.11.0", "ports": [{"containerPort": 8000}]},
        ]}}))
        .unwrap();
        let check =
            |port, expect: Option<&str>| assert_eq!(version_of(&pod, port).as_deref(), expect, "{port}");
        check(8000, Some("v0.11.0"));
        check(8080, Some("1.2"));
        check(9090, None);
    }
}
