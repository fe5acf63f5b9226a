//! What goes wrong with recordings of a daemon.

pub(super) const E530_TEXT: &str =
"The daemon was started with --record and cannot write such a file, so it does not start.

Usual causes: a file of that name exists (a recording never replaces anything), its directory is missing or cannot be \
written to, or IKE runs on several threads, whose order could not be repeated.

Choose a name that is free on a disk with room, and add --ike-threads 1. A recording holds the keys of every SA that \
was made while it was written: keep it as you would keep those. A disk that fills up later ends the recording, which the \
log tells; the daemon goes on.";
