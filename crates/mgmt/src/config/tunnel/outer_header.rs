//! `dscp`, `ecn` and `df`: what the outer header takes over (RFC 4301 §5.1.2, §8.1).

use adit_db::{ChildConfig, DfPolicy, Dscp, DscpPolicy, EcnPolicy, Mode};

use super::super::fields::{Fields, Placed};
use super::super::report::Mistake;

const ECN: &[(&str, EcnPolicy)] =
    &[("normal", EcnPolicy::Normal), ("compatibility", EcnPolicy::Compatibility)];

const DF: &[(&str, DfPolicy)] =
    &[("clear", DfPolicy::Clear), ("copy", DfPolicy::Copy), ("set", DfPolicy::Set)];

/// Reads the three keys; the mode has been read.
pub(super) fn read(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    let first = ["dscp", "ecn", "df"].iter().find_map(|key| fields.key_span(key));
    child.dscp = read_dscp(fields).unwrap_or_default();
    child.ecn = fields.word("ecn", ECN).map_or(EcnPolicy::Normal, |ecn| ecn.value);
    child.df = fields.word("df", DF).map_or(DfPolicy::Clear, |df| df.value);
    if let Some(place) = first.filter(|_| child.mode == Mode::Transport) {
        fields.mistake(
            Mistake::new(place, "there is no outer header in transport mode")
                .label("packets keep their own")
                .help("leave `dscp`, `ecn` and `df` out, or write mode = \"tunnel\""),
        );
    }
}

fn read_dscp(fields: &mut Fields<'_>) -> Option<DscpPolicy> {
    if fields.is_integer("dscp") {
        let value = fields.integer("dscp", 0..=CODE_POINT_MAX, "")?.value;
        return u8::try_from(value).ok().and_then(Dscp::new).map(DscpPolicy::Set);
    }
    let text = fields.string("dscp")?;
    if text.value == COPY {
        return Some(DscpPolicy::Copy);
    }
    if let Some(dscp) = Dscp::named(&text.value) {
        return Some(DscpPolicy::Set(dscp));
    }
    fields.mistake(unknown("dscp", &text, "\"copy\", "));
    None
}

/// No name of a code point; `also` is what else there could be.
pub(super) fn unknown<'a>(key: &str, text: &Placed<String>, also: &str) -> Mistake<'a> {
    let copy = (!also.is_empty()).then_some(COPY);
    let nearest = adit_db::nearest(&text.value, Dscp::names().chain(copy));
    let label = format!("must be {also}a name such as \"ef\", \"af41\" or \"cs5\", or 0 to 63");
    Mistake::new(text.span.clone(), format!("unknown value for `{key}`"))
        .label(label)
        .help_some(nearest.map(|word| format!("did you mean \"{word}\"?")))
}

const COPY: &str = "copy";

const CODE_POINT_MAX: u32 = 63;
