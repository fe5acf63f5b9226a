//! The sections below `children`.

use adit_db::{
    ChildConfig, ChildName, DfPolicy, Dscp, DscpPolicy, EcnPolicy, EndAction, Keep, LimitSpec,
    Mode, NameError, ProposalSpec, Tfc, TsSpec, WindowSize,
};

use super::value::{Entry, Refused};
use super::{ConnError, ConnReason, proposals};
use crate::vici::message::Section;

/// Reads one child.
pub(super) fn child(name: &str, section: &Section) -> Result<ChildConfig, ConnError> {
    let path = format!("children.{name}");
    let name = ChildName::new(name).map_err(|error: NameError| ConnError {
        path: path.clone(),
        reason: ConnReason::BadValue { value: name.to_owned(), reason: error.to_string() },
    })?;
    let mut child = ChildConfig::new(name);
    let mut limits = Limits::default();
    let (mut dpd_action, mut close_action) = (None, None);
    let mut lists = Lists::default();
    for entry in Entry::all(&path, section) {
        if limits.read_key(&entry)? {
            continue;
        }
        match entry.key.as_str() {
            "dpd_action" => dpd_action = Some(end_action(&entry)?),
            "close_action" => close_action = Some(end_action(&entry)?),
            "esp_proposals" => lists.esp = proposals(&entry, ProposalSpec::esp_list)?,
            // Named without a value it is what it is by default: no AH.
            "ah_proposals" if entry.items()?.is_empty() => {}
            "ah_proposals" => lists.ah = proposals(&entry, ProposalSpec::ah_list)?,
            _ => read_key(&mut child, &entry)?,
        }
    }
    limits.settle(&path, &mut child)?;
    lists.settle(&mut child);
    if child.lifetime.idle_s > 0 && child.keep == Keep::Up {
        let reason = "start_action = start is to be up always; use trap, or leave the key out";
        let path = format!("{path}.inactivity");
        return Err(ConnError { path, reason: ConnReason::Contradiction(reason) });
    }
    // swanctl.conf's default is to leave it at that. A child that is to be up comes back, unless
    // the file says otherwise in so many words.
    child.dpd_action = dpd_action.unwrap_or_else(|| child.keep.end_action());
    child.close_action = close_action.unwrap_or_else(|| child.keep.end_action());
    Ok(child)
}

fn read_key(child: &mut ChildConfig, entry: &Entry<'_>) -> Result<(), ConnError> {
    match entry.key.as_str() {
        "local_ts" => child.local_ts = selectors(entry)?,
        "remote_ts" => child.remote_ts = selectors(entry)?,
        "start_action" => child.keep = start_action(entry)?,
        "replay_window" => {
            let packets = entry.number()?;
            child.replay_window = WindowSize::covering(packets)
                .ok_or_else(|| entry.bad(format!("must be at most {}", WindowSize::MAX)))?;
        }
        "inactivity" => child.lifetime.idle_s = entry.duration()?.as_secs(),
        "tfc_padding" => {
            child.tfc.padding = match entry.text()? {
                "mtu" => Tfc::TO_MTU,
                _ => entry.number().map_err(|_| entry.bad("must be mtu, or octets below 65536"))?,
            };
        }
        "ipcomp" => {
            if ["lzs", "lzjh", "oui"].contains(&entry.text()?.to_ascii_lowercase().as_str()) {
                return Err(entry.unsupported("DEFLATE is the one algorithm; use yes"));
            }
            child.compress = entry.flag()?;
        }
        "mode" => match entry.text()? {
            "tunnel" => child.mode = Mode::Tunnel,
            "transport" => child.mode = Mode::Transport,
            "pass" | "drop" => {
                return Err(
                    entry.unsupported("shunt policies are not supported yet; leave the child out")
                );
            }
            "beet" => child.mode = Mode::Beet,
            "transport_proxy" => return Err(entry.unsupported("use tunnel or transport")),
            _ => return Err(entry.bad("must be tunnel, transport or beet")),
        },
        "copy_ecn" => {
            let normal = entry.flag()?;
            child.ecn = if normal { EcnPolicy::Normal } else { EcnPolicy::Compatibility };
        }
        // strongSwan copies it unless told otherwise; we do so only when told.
        "copy_df" => {
            child.df = if entry.flag()? { DfPolicy::Copy } else { DfPolicy::Clear };
        }
        "copy_dscp" => {
            child.dscp =
                match entry.text()? {
                    "out" => DscpPolicy::Copy,
                    "no" => DscpPolicy::Set(Dscp::default()),
                    "yes" | "in" => return Err(entry.unsupported(
                        "the peer must not change our packets' DSCP (RFC 4301, 5.1.2.1); use out",
                    )),
                    _ => return Err(entry.bad("must be out or no")),
                };
        }
        _ => entry.settle(HONOURED, ACCEPTED, REFUSED)?,
    }
    Ok(())
}

/// What compression cannot go together with is not dropped without a word.
pub(super) fn check_ipcomp(child: &ChildConfig) -> Result<(), ConnError> {
    if !child.compress || child.negotiates_ipcomp() {
        return Ok(());
    }
    let reason = if child.tfc.padding > 0 {
        "tfc_padding hides the lengths that this would save; leave one of the two out"
    } else {
        "is for ESP, not for AH; use no"
    };
    let path = format!("children.{}.ipcomp", child.name);
    Err(ConnError { path, reason: ConnReason::Contradiction(reason) })
}

/// Proposals as written. As swanctl.conf has it, ESP is offered unless there is AH, and both are
/// alternatives, ESP first; what IKEv1 makes of both is in `bundle`.
#[derive(Default)]
struct Lists {
    esp: Vec<ProposalSpec>,
    ah: Vec<ProposalSpec>,
}

impl Lists {
    fn settle(self, child: &mut ChildConfig) {
        let all = [self.esp, self.ah].concat();
        if !all.is_empty() {
            child.proposals = all;
        }
    }
}

fn selectors(entry: &Entry<'_>) -> Result<Vec<TsSpec>, ConnError> {
    let selectors = entry.parsed_list()?;
    Ok(if selectors.is_empty() { vec![TsSpec::DYNAMIC] } else { selectors })
}

/// `trap|start` is up at once, and the first packet would find it up.
fn start_action(entry: &Entry<'_>) -> Result<Keep, ConnError> {
    let mut keep = Keep::Passive;
    for action in entry.text()?.split(['|', ',']).map(str::trim) {
        match action {
            "none" | "" => {}
            "trap" | "route" if keep != Keep::Up => keep = Keep::OnDemand,
            "trap" | "route" => {}
            "start" => keep = Keep::Up,
            _ => return Err(entry.bad("must be none, trap, start or trap|start")),
        }
    }
    Ok(keep)
}

fn end_action(entry: &Entry<'_>) -> Result<EndAction, ConnError> {
    match entry.text()? {
        "none" | "clear" | "" => Ok(EndAction::Clear),
        "trap" | "hold" | "route" => Ok(EndAction::Trap),
        "start" | "restart" => Ok(EndAction::Restart),
        _ => Err(entry.bad("must be clear (none), trap or restart (start)")),
    }
}

/// Lifetimes as written; the missing ones follow from the others.
#[derive(Default)]
struct Limits {
    seconds: Limit,
    octets: Limit,
    packets: Limit,
}

#[derive(Default)]
struct Limit {
    rekey: Option<u64>,
    life: Option<u64>,
    rand: Option<u64>,
}

impl Limits {
    /// Takes a key that is a lifetime; says whether it was one.
    fn read_key(&mut self, entry: &Entry<'_>) -> Result<bool, ConnError> {
        let Some((what, unit)) = entry.key.split_once('_') else {
            return Ok(false);
        };
        let limit = match unit {
            "time" => &mut self.seconds,
            "bytes" => &mut self.octets,
            "packets" => &mut self.packets,
            _ => return Ok(false),
        };
        let place = match what {
            "rekey" => &mut limit.rekey,
            "life" => &mut limit.life,
            "rand" => &mut limit.rand,
            _ => return Ok(false),
        };
        let amount = if unit == "time" { entry.duration()?.as_secs() } else { entry.amount()? };
        *place = Some(amount);
        Ok(true)
    }

    fn settle(&self, path: &str, child: &mut ChildConfig) -> Result<(), ConnError> {
        let default = child.lifetime.seconds.soft;
        child.lifetime.seconds = self.seconds.settle(path, "rekey_time", default)?;
        child.lifetime.octets = self.octets.settle(path, "rekey_bytes", 0)?;
        child.lifetime.packets = self.packets.settle(path, "rekey_packets", 0)?;
        Ok(())
    }
}

impl Limit {
    /// swanctl.conf: life is a tenth above rekey, rand is the difference.
    fn settle(&self, path: &str, key: &str, default: u64) -> Result<LimitSpec, ConnError> {
        let derived = self.life.map_or(default, |life| life - life / 11);
        let mut limit = LimitSpec::from_soft(self.rekey.unwrap_or(derived));
        if let Some(life) = self.life {
            limit.hard = life;
            limit.rand = life.saturating_sub(limit.soft);
        }
        if let Some(rand) = self.rand {
            limit.rand = rand;
        }
        if limit.hard > 0 && limit.soft >= limit.hard {
            let reason = "must be below the life value, or the SA ends before it is renewed";
            let path = format!("{path}.{key}");
            return Err(ConnError { path, reason: ConnReason::Contradiction(reason) });
        }
        Ok(limit)
    }
}

const HONOURED: &[&str] = &[
    "esp_proposals",
    "ah_proposals",
    "local_ts",
    "remote_ts",
    "start_action",
    "dpd_action",
    "close_action",
    "replay_window",
    "tfc_padding",
    "ipcomp",
    "mode",
    "copy_df",
    "copy_ecn",
    "copy_dscp",
    "inactivity",
    "rekey_time",
    "life_time",
    "rand_time",
    "rekey_bytes",
    "life_bytes",
    "rand_bytes",
    "rekey_packets",
    "life_packets",
    "rand_packets",
];

/// Arguments of scripts and kernels that are not there.
const ACCEPTED: &[&str] = &["hostaccess", "policies_fwd_out", "label_mode"];

const NO_MARKS: &str = "Netfilter marks are not supported here: ESP of this connection runs in user space; \
    write a tunnel's file with engine = \"kernel\" and `mark`";
pub(super) const NO_XFRM: &str = "XFRM interfaces are not supported here: ESP of this connection runs in user \
    space; write a tunnel's file with engine = \"kernel\" and `interface`";

const NO_OFFLOAD: &str = "hardware offload is not supported here; use no or auto, or write a tunnel's file with \
    engine = \"kernel\" and `offload`";

const REFUSED: &[Refused] = &[
    Refused("sha256_96", &["no"], "the draft truncation of HMAC-SHA2-256 is not supported"),
    Refused("updown", &[], "updown scripts are not run yet; leave the key out"),
    Refused("policies", &["yes"], "policies are always installed; leave the key out"),
    Refused("reqid", &["0"], "reqids are assigned by the daemon; leave the key out"),
    Refused("priority", &["0"], "the order of policies follows from their selectors; use 0"),
    Refused("interface", &[], "policies for one interface are not supported yet"),
    Refused("mark_in", MARK_NONE, NO_MARKS),
    Refused("mark_in_sa", &["no"], NO_MARKS),
    Refused("mark_out", MARK_NONE, NO_MARKS),
    Refused("set_mark_in", MARK_NONE, NO_MARKS),
    Refused("set_mark_out", MARK_NONE, NO_MARKS),
    Refused("if_id_in", &["0"], NO_XFRM),
    Refused("if_id_out", &["0"], NO_XFRM),
    Refused("label", &[], "security labels are not supported; leave the key out"),
    Refused("hw_offload", &["no", "auto"], NO_OFFLOAD),
];

const MARK_NONE: &[&str] = &["0", "0x0", "0/0", "0/0x00000000", "0x0/0x0"];
