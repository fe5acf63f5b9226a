//! What becomes of ICMP messages at tunnels, as far as that is not as by default (RFC 4301 §6).

use adit_db::{Connection, Engine, IcmpInterfaces, IcmpPassage, IcmpRed, IcmpRow, IcmpRules};
use serde::{Deserialize, Serialize};

use crate::diagnosis::Context;

/// One setting of a tunnel that is not as by default.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct IcmpSetting {
    /// The tunnel.
    pub tunnel: String,
    /// The key, or the row of `[icmp]`; `interfaces` says which are red and black.
    pub setting: String,
    /// What it is set to, in the words of the file.
    pub value: String,
    /// File and line, or who else says so.
    pub source: String,
}

/// Settings that a report has at most.
pub const ICMP_SETTINGS_MAX: usize = 256;

/// Why the kernel's tunnels take no notices of the peer's gateway, and send none.
pub const KERNEL_TAKES_NO_NOTICES: &str = "the kernel joins fragments and drops ICMP errors without telling us, and learns no path MTU but its own";

/// What differs from the defaults at a tunnel; `cx` knows where it is written.
pub fn icmp_settings(connection: &Connection, cx: &Context) -> Vec<IcmpSetting> {
    let mut settings = Settings { tunnel: connection.name.as_str(), cx, found: Vec::new() };
    // Classes and SAs for CPUs have the rules of the first.
    if let Some(child) = connection.children.first() {
        settings.add_rules(&child.icmp);
    }
    if connection.engine == Engine::Kernel {
        settings.add("notices", "", format!("none: {KERNEL_TAKES_NO_NOTICES}"));
        if let Some(last) = settings.found.last_mut() {
            last.source = "the kernel is the engine".to_owned();
        }
    }
    settings.found
}

struct Settings<'a> {
    tunnel: &'a str,
    cx: &'a Context,
    found: Vec<IcmpSetting>,
}

impl Settings<'_> {
    fn add_rules(&mut self, rules: &IcmpRules) {
        let default = IcmpRules::DEFAULT;
        let keys = [
            ("icmp_errors", rules.errors.word(), default.errors.word()),
            ("icmp_carry", rules.carry.word(), default.carry.word()),
            ("traceroute_transit", rules.transit.word(), default.transit.word()),
            ("security_failures", rules.security_failures.word(), default.security_failures.word()),
        ];
        for (key, word, usual) in keys {
            if word != usual {
                self.add(key, key, word.to_owned());
            }
        }
        if rules.interfaces != IcmpInterfaces::NONE {
            self.add("interfaces", "icmp", rules.interfaces.to_string());
        }
        for (number, row) in (0..).zip(IcmpRow::ALL) {
            let (now, usual) = (rules.treatment(number), row.default);
            let red = (now.red != usual.red).then(|| format!("red {}", IcmpRed::word(now.red)));
            let passage = |side, now: IcmpPassage, usual| {
                (now != usual).then(|| format!("{side} {}", now.word()))
            };
            let black = passage("black", now.black, usual.black);
            let tunnel = passage("tunnel", now.tunnel, usual.tunnel);
            let cells: Vec<String> = [red, black, tunnel].into_iter().flatten().collect();
            if !cells.is_empty() {
                self.add(row.key, "icmp", cells.join(", "));
            }
        }
    }

    fn add(&mut self, setting: &str, key: &str, value: String) {
        let line = self.cx.key_lines.get(key);
        let source = match (&self.cx.file, line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => "the control socket".to_owned(),
        };
        let (tunnel, setting) = (self.tunnel.to_owned(), setting.to_owned());
        self.found.push(IcmpSetting { tunnel, setting, value, source });
    }
}
