//! `adit mtu`: what the path of a tunnel takes, who has said so and when; by `--forget` that is found out anew.

use std::path::Path;

use adit_mgmt::api::{self, TunnelStatus};
use adit_mgmt::vici::Request;
use adit_mgmt::vici::answer::Outcome;
use serde::Serialize;

use crate::args::Mtu;
use crate::daemon::Daemon;
use crate::error::{Error, Exit};
use crate::screen::{Paint, Screen, Style};
use crate::verb::act::known_tunnel;
use crate::words::{clean, grouped, seconds};

/// The whole, for `--json`.
#[derive(Serialize)]
struct PathMtu<'a> {
    schema: u32,
    tunnel: &'a str,
    /// Whether what was known before has been forgotten.
    forgotten: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_mtu_source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_mtu_age_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
}

/// `adit mtu`.
pub(crate) fn run(args: &Mtu, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut daemon = Daemon::connect(vici)?;
    let mut tunnel = known_tunnel(&mut daemon, &args.name)?;
    let was = tunnel.clone();
    if args.forget {
        let request = Request::AditForgetPath { tunnel: tunnel.name.clone() };
        let outcome = Outcome::parse(&daemon.call(&request, |_| Ok(()))?);
        if let Some(reason) = outcome.error {
            return Err(Error::Usage(format!("nothing was forgotten: {}", clean(&reason))));
        }
        tunnel = known_tunnel(&mut daemon, &args.name)?;
    }
    if args.json {
        screen.json(&PathMtu {
            schema: api::SCHEMA,
            tunnel: &tunnel.name,
            forgotten: args.forget,
            path_mtu: tunnel.path_mtu,
            path_mtu_source: tunnel.path_mtu_source.as_deref(),
            path_mtu_age_s: tunnel.path_mtu_age_s,
            mtu: tunnel.mtu,
        })?;
    } else {
        screen.text(&text(&was, args.forget.then_some(&tunnel), screen.paint))?;
    }
    Ok(Exit::Good)
}

/// What is known, and after it was forgotten what is known since.
fn text(tunnel: &TunnelStatus, since: Option<&TunnelStatus>, paint: Paint) -> String {
    let name = paint.with(Style::Bold, &clean(&tunnel.name)).into_owned();
    match since {
        None => format!("{name}  {}\n", known(tunnel)),
        Some(since) => {
            format!("{name}  forgotten: {}\n{name}  now: {}\n", known(tunnel), known(since))
        }
    }
}

fn known(tunnel: &TunnelStatus) -> String {
    let Some(path) = tunnel.path_mtu else {
        let name = clean(&tunnel.name);
        return format!(
            "nothing is known of the path: `adit status {name}` says how the tunnel stands"
        );
    };
    let who = tunnel.path_mtu_source.as_deref().map_or("nobody knows who", who);
    let when = tunnel.path_mtu_age_s.map(|age| format!(", {} ago", seconds(age)));
    let inside = match tunnel.mtu {
        Some(mtu) => format!("packets of {} octets fit inside", grouped(mtu.into())),
        None => "packets of any length fit inside".to_owned(),
    };
    let path = grouped(path.into());
    format!("the path takes {path} octets ({who}{}); {inside}", when.unwrap_or_default())
}

/// Who has said so, in words.
fn who(source: &str) -> &'static str {
    match source {
        "link" => "the first link, and nobody has said less",
        "icmp" => "a router has said so by ICMP",
        "probe" => "found by probes",
        "echo" => "found by echo requests",
        "report" => "the peer has seen fragments of this size",
        "operator" => "path_mtu in its file",
        _ => "a newer daemon knows who",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(path_mtu: Option<u32>, source: &str, age_s: Option<u64>) -> TunnelStatus {
        TunnelStatus {
            name: "berlin".to_owned(),
            path_mtu,
            path_mtu_source: path_mtu.map(|_| source.to_owned()),
            path_mtu_age_s: age_s,
            mtu: path_mtu.map(|mtu| mtu - 78),
            ..TunnelStatus::default()
        }
    }

    #[test]
    fn what_is_known_says_who_and_when() {
        let learnt = tunnel(Some(1_400), "icmp", Some(125));
        insta::assert_snapshot!(text(&learnt, None, Paint::PLAIN), @"berlin  the path takes 1,400 octets (a router has said so by ICMP, 2 min ago); packets of 1,322 octets fit inside");
        let link = tunnel(Some(1_500), "link", None);
        insta::assert_snapshot!(text(&learnt, Some(&link), Paint::PLAIN), @r"
        berlin  forgotten: the path takes 1,400 octets (a router has said so by ICMP, 2 min ago); packets of 1,322 octets fit inside
        berlin  now: the path takes 1,500 octets (the first link, and nobody has said less); packets of 1,422 octets fit inside
        ");
        let down = tunnel(None, "", None);
        insta::assert_snapshot!(text(&down, None, Paint::PLAIN), @"berlin  nothing is known of the path: `adit status berlin` says how the tunnel stands");
    }
}
