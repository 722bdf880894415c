//! The user's catalogue: a file that extends the built-in one, read at the start and again when it changes, as a mounted
//! `ConfigMap` does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use windlass_metrics::Catalogue;

use crate::Shared;

/// How often the file is looked at. The kubelet brings a changed `ConfigMap` within about a minute.
const AGAIN: Duration = Duration::from_secs(10);

/// Why a file cannot extend the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueFileError {
    /// It is not there, or no text.
    #[error("the catalogue {path} cannot be read: {why}; name a TOML file, or leave --catalogue out")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// Something in it is wrong.
    #[error("{place}: {problem}; correct it (docs/catalogue.md has an example)")]
    Wrong {
        /// The file, with the line where that is known.
        place: String,
        /// One sentence.
        problem: String,
    },
}

/// A file that extends the built-in catalogue.
#[derive(Debug, Clone)]
pub struct CatalogueFile {
    path: PathBuf,
    text: String,
    catalogue: Arc<Catalogue>,
}

impl CatalogueFile {
    /// Reads the file.
    pub fn open(path: &Path) -> Result<Self, CatalogueFileError> {
        let text = read(path)?;
        let catalogue = extended(path, &text)?;
        Ok(Self { path: path.to_owned(), text, catalogue })
    }

    /// The built-in catalogue with what the file adds.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }
}

fn read(path: &Path) -> Result<String, CatalogueFileError> {
    let text = std::fs::read_to_string(path);
    text.map_err(|error| CatalogueFileError::Unreadable {
        path: path.display().to_string(),
        why: error.to_string(),
    })
}

fn extended(path: &Path, text: &str) -> Result<Arc<Catalogue>, CatalogueFileError> {
    Catalogue::builtin().extended(text).map(Arc::new).map_err(|error| {
        let line = error.line(text).map(|line| format!(":{line}")).unwrap_or_default();
        CatalogueFileError::Wrong { place: format!("{}{line}", path.display()), problem: error.sentence() }
    })
}

/// What became of the file since the start.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Why its last version is not in use, if it is not: the one before is.
    problem: Mutex<Option<String>>,
}

impl Standing {
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }
}

/// Takes over what the file says whenever it changes. A version that is wrong is said once, and the one before stays.
pub(crate) async fn follow(mut file: CatalogueFile, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        let problem = match file.look() {
            Ok(Some(catalogue)) => {
                tracing::info!(file = %file.path.display(), "the catalogue changed and is in use");
                shared.index.lock().use_catalogue(catalogue);
                None
            }
            Ok(None) => None,
            Err(error) => Some(error.to_string()),
        };
        let mut known = shared.catalogue.problem.lock();
        if let Some(problem) = problem.as_ref().filter(|problem| known.as_ref() != Some(problem)) {
            tracing::warn!(problem, "the catalogue changed and is refused; the one before stays in use");
        }
        *known = problem;
    }
}

impl CatalogueFile {
    /// What the file says now, if it means another thing than before: a comment is no reason to read all pages anew.
    fn look(&mut self) -> Result<Option<Arc<Catalogue>>, CatalogueFileError> {
        let text = read(&self.path)?;
        if text == self.text {
            return Ok(None);
        }
        let catalogue = extended(&self.path, &text)?;
        self.text = text;
        if catalogue == self.catalogue {
            return Ok(None);
        }
        self.catalogue = catalogue;
        Ok(Some(Arc::clone(&self.catalogue)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: &str = "[[engine]]\nname = \"mine\"\ntitle = \"Mine\"\nprefixes = [\"mine_\"]\n\n\
        [[metric]]\nname = \"inflight\"\n[[metric.alias]]\nengine = \"mine\"\ntype = \"gauge\"\nadd = [\"mine_jobs\"]\n";

    #[test]
    fn a_file_is_followed_and_a_wrong_version_is_refused() {
        let path = std::env::temp_dir().join(format!("windlass-catalogue-{}.toml", std::process::id()));
        let error = CatalogueFile::open(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the catalogue {} cannot be read: ", path.display())), "{error}");
        std::fs::write(&path, "").unwrap();
        let mut file = CatalogueFile::open(&path).unwrap();
        assert_eq!(file.look(), Ok(None));
        std::fs::write(&path, DEPTH).unwrap();
        let catalogue = file.look().unwrap().expect("another text");
        assert!(catalogue.engine("mine").is_some());
        std::fs::write(&path, format!("# Ours.\n{DEPTH}")).unwrap();
        assert_eq!(file.look(), Ok(None), "a comment means nothing");
        std::fs::write(&path, DEPTH.replace("gauge", "gouge")).unwrap();
        let error = file.look().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:10: unknown variant `gouge`", path.display())), "{error}");
        assert!(file.catalogue().engine("mine").is_some(), "the one before stays");
        std::fs::write(&path, DEPTH).unwrap();
        assert_eq!(file.look(), Ok(None));
        std::fs::remove_file(&path).unwrap();
    }
}
