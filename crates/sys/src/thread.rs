//! Threads, always named: a name is what `top -H` and a panic message show.

use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Starts a thread with a name; Linux shows its first 15 octets.
///
/// # Errors
///
/// The system's refusal to make another thread.
pub fn spawn_named<F, T>(name: &str, f: F) -> io::Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().name(name.to_owned()).spawn(f)
}

/// Like [`spawn_named`], for a thread that borrows from its creator.
///
/// # Errors
///
/// The system's refusal to make another thread.
pub fn spawn_scoped_named<'scope, 'env, F, T>(
    scope: &'scope Scope<'scope, 'env>,
    name: &str,
    f: F,
) -> io::Result<ScopedJoinHandle<'scope, T>>
where
    F: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    Builder::new().name(name.to_owned()).spawn_scoped(scope, f)
}
