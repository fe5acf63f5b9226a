//! `idle`: how long a tunnel may carry nothing.

use adit_db::{ChildConfig, Keep};

use super::read_time;
use crate::config::fields::Fields;
use crate::config::report::Mistake;

/// Reads the key; `keep` has been read.
pub(super) fn read(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    let Some(idle) = read_time(fields, "idle", true) else { return };
    child.lifetime.idle_s = idle.value;
    if idle.value > 0 && child.keep == Keep::Up {
        fields.mistake(
            Mistake::new(idle.span, "`idle` ends what keep = \"up\" keeps up")
                .label("the tunnel would come back at once, and end again")
                .help("write keep = \"on-demand\" or keep = \"passive\", or leave `idle` out"),
        );
    }
}
