//! What an image's reference tells of what is in it.

/// The tag of an image, taken for the version: `v0.11.0` of `vllm/vllm-openai:v0.11.0`. None where there is none, and of
/// `latest`, which says nothing.
///
/// ```
/// let version = windlass_api::image_version;
/// assert_eq!(version("vllm/vllm-openai:v0.11.0").as_deref(), Some("v0.11.0"));
/// assert_eq!(version("registry:5000/tgi:3.3@sha256:0123").as_deref(), Some("3.3"));
/// assert_eq!(version("registry:5000/tgi"), None);
/// assert_eq!(version("tgi:latest"), None);
/// ```
pub fn image_version(image: &str) -> Option<String> {
    let named = image.split('@').next().unwrap_or_default();
    let (_, tag) = named.rsplit('/').next()?.split_once(':')?;
    (!tag.is_empty() && tag != "latest").then(|| tag.to_owned())
}
