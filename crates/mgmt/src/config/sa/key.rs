//! `key_in` and `key_out`: keys as hex in files of their own.

use std::path::Path;

use adit_crypto::{Protection, Secret};

use crate::codes::Code;
use crate::config::ReadSecret;
use crate::config::fields::{Fields, Placed};
use crate::config::report::Mistake;
use crate::config::tunnel::{no_file, refuse_open_file};
use crate::secret::{hex_octets, key_words, trim_secret};

/// Reads one key, of the length that the suite wants; without a suite only the file is looked at.
pub(super) fn read(
    fields: &mut Fields<'_>,
    key: &'static str,
    secrets: ReadSecret<'_>,
    protection: Option<Protection>,
) -> Option<Secret> {
    if !fields.has(key) {
        fields.optional(key);
        return None;
    }
    let Placed { value: name, span } = fields.hidden_string(key)?;
    let Some(path) = name.strip_prefix("file:") else {
        let mistake = no_file(span, key, &name);
        fields.mistake(mistake);
        return None;
    };
    let directory = fields.file.path.parent().unwrap_or_else(|| Path::new(""));
    let path = directory.join(path);
    let suite = protection.map_or_else(|| "SUITE".to_owned(), |suite| suite.to_string());
    let make = format!("adit secret new --sa {suite} {}", path.display());
    let file = match secrets(&path) {
        Ok(file) => file,
        Err(error) => {
            fields.mistake(
                Mistake::new(span, format!("{} cannot be read", path.display()))
                    .code(Code::E512)
                    .label(error)
                    .help(make),
            );
            return None;
        }
    };
    refuse_open_file(fields, span.clone(), &path, &file);
    let protection = protection?;
    let octets = hex_octets(trim_secret(file.octets.as_bytes()));
    let wanted = protection.encryption_key_len() + protection.integrity_key_len();
    let complaint = match &octets {
        None => "it must be hex digits and nothing else".to_owned(),
        Some(octets) if octets.len() != wanted => {
            format!("it has {} octets, {suite} wants {}", octets.len(), key_words(protection))
        }
        Some(_) => return octets,
    };
    fields.mistake(
        Mistake::new(span, format!("the key in {} does not fit", path.display()))
            .label(complaint)
            .help(make),
    );
    None
}
