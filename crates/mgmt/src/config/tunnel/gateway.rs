//! `childless`, `redirect`, `follow_redirects` and `resumption`: how an IKE SA begins, and where else.

use adit_db::{Childless, Connection, Gateway, HostSpec};

use crate::config::fields::Fields;
use crate::config::report::Mistake;

/// Reads the keys; the ends have been read.
pub(super) fn read(fields: &mut Fields<'_>, connection: &mut Connection) {
    if let Some(childless) = fields.word("childless", Childless::WORDS) {
        connection.childless = childless.value;
    }
    let redirect = fields.parsed::<Gateway>("redirect", |error, _| error.to_string());
    if let Some(redirect) = redirect {
        let here = connection.local_addresses.iter().find_map(HostSpec::address);
        if here.map(Gateway::Address).as_ref() == Some(&redirect.value) {
            fields.mistake(
                Mistake::new(redirect.span, "`redirect` sends peers to where they are")
                    .label("the tunnel's own `address`")
                    .help("name another gateway, or leave the key out"),
            );
        }
        connection.redirect.to = Some(redirect.value);
    }
    if let Some(follow) = fields.flag("follow_redirects", &[]) {
        connection.redirect.follow = follow.value;
    }
    if let Some(resumption) = fields.flag("resumption", &[]) {
        connection.resumption = resumption.value;
    }
}
