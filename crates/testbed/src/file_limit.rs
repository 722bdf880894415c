//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as this process may; children inherit it. Every engine has a listener and every request a
/// connection, and the usual 1024 files are soon gone. Failing leaves the limit as it is.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
