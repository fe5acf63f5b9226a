//! `version = 1`: what swanctl.conf says of IKEv1 alone (aggressive mode, XAUTH, hybrid, addresses inside), and
//! whether the rest of a connection is something that IKEv1 can carry.

use std::net::IpAddr;

use adit_db::{
    Aggressive, AuthSpec, ChildConfig, ConfigClient, ConfigMode, Connection, IkeVersion, Mode,
    ProposalSpec, TsSpec, UserAuth,
};

use super::auth::Users;
use super::value::Entry;
use super::{ConnError, ConnReason, bundle, contradiction};
use crate::config::ikev1_rules;
use crate::vici::pool::{Pools, server};

/// The keys of a connection that are of IKEv1, as written.
#[derive(Default)]
pub(super) struct Keys<'a> {
    version: Option<Entry<'a>>,
    aggressive: Option<Entry<'a>>,
    pull: Option<Entry<'a>>,
    vips: Option<Entry<'a>>,
    pools: Option<Entry<'a>>,
}

impl<'a> Keys<'a> {
    /// Keeps an entry until all have been read; gives it back if it is none of these.
    pub(super) fn take(&mut self, entry: Entry<'a>) -> Option<Entry<'a>> {
        let place = match entry.key.as_str() {
            "version" => &mut self.version,
            "aggressive" => &mut self.aggressive,
            "pull" => &mut self.pull,
            "vips" => &mut self.vips,
            "pools" => &mut self.pools,
            _ => return Some(entry),
        };
        *place = Some(entry);
        None
    }

    /// Says of a connection, of which all else has been read, what these keys and the users of its sides ask
    /// for.
    pub(super) fn settle(
        &self,
        connection: &mut Connection,
        users: Users,
        pools: &Pools,
    ) -> Result<(), ConnError> {
        if self.is_v1()? {
            connection.ike = IkeVersion::V1;
            self.settle_beginning(connection)?;
            settle_users(connection, users)?;
            self.settle_addresses(connection, pools)?;
            return settle_rest(connection);
        }
        if let Some((path, _)) = users.ours.as_ref().or(users.theirs.as_ref()) {
            return Err(contradiction(
                &format!("{path}.auth"),
                "XAuth is of IKEv1; use version = 1",
            ));
        }
        let asked = self.aggressive.as_ref().map(|entry| (entry, entry.flag()));
        if let Some((entry, is_asked)) = asked
            && is_asked?
        {
            return Err(entry.unsupported("aggressive mode is of IKEv1; use version = 1"));
        }
        if let Some(entry) = &self.pull {
            entry.flag()?;
        }
        for entry in [&self.vips, &self.pools].into_iter().flatten() {
            if !entry.items()?.is_empty() {
                return Err(entry.unsupported("addresses inside are for version = 1 alone so far"));
            }
        }
        Ok(())
    }

    fn is_v1(&self) -> Result<bool, ConnError> {
        let Some(entry) = &self.version else { return Ok(false) };
        match entry.text()? {
            "1" => Ok(true),
            "0" | "2" => Ok(false),
            _ => Err(entry.bad("must be 1 or 2, or 0 for IKEv2")),
        }
    }

    fn settle_beginning(&self, connection: &mut Connection) -> Result<(), ConnError> {
        let Some(entry) = &self.aggressive else { return Ok(()) };
        if entry.flag()? {
            connection.aggressive = Aggressive::Initiate;
        }
        Ok(())
    }

    /// Our own address inside, or those of a pool for the peer.
    fn settle_addresses(
        &self,
        connection: &mut Connection,
        pools: &Pools,
    ) -> Result<(), ConnError> {
        let pull = self.pull.as_ref().map_or(Ok(true), Entry::flag)?;
        let mode = if pull { ConfigMode::Pull } else { ConfigMode::Push };
        let vips = self.vips.as_ref().map(Entry::items).transpose()?.unwrap_or_default();
        let names = self.pools.as_ref().map(Entry::items).transpose()?.unwrap_or_default();
        if let (Some(entry), false, false) = (&self.pools, vips.is_empty(), names.is_empty()) {
            return Err(
                entry.bad("one side gives addresses and the other gets one; leave vips out")
            );
        }
        if let (Some(entry), false) = (&self.vips, vips.is_empty()) {
            let is_any = |vip: &&str| vip.parse().is_ok_and(|vip: IpAddr| vip.is_unspecified());
            if !vips.iter().all(is_any) {
                return Err(entry.unsupported("the peer chooses the address; use 0.0.0.0 or ::"));
            }
            connection.remote_access.client = Some(ConfigClient { mode });
        }
        if let (Some(entry), false) = (&self.pools, names.is_empty()) {
            let mut server = server(pools, &names).map_err(|reason| entry.bad(reason))?;
            server.mode = mode;
            connection.remote_access.server = Some(server);
        }
        Ok(())
    }
}

/// Whose user proves who they are. Where that is all a side has to prove itself, the other signs (hybrid).
fn settle_users(connection: &mut Connection, users: Users) -> Result<(), ConnError> {
    let pad = &mut connection.pad;
    if !pad.more_local.is_empty() || !pad.more_remote.is_empty() {
        let side = if pad.more_local.is_empty() { "remote" } else { "local" };
        let reason = "IKEv1 has one round for both sides, and XAuth after it";
        return Err(contradiction(side, reason));
    }
    let (path, user, of_user, of_gateway) = match (users.ours, users.theirs) {
        (Some(_), Some((path, _))) => {
            return Err(contradiction(&path, "one side has a user (XAuth), not both"));
        }
        (Some((path, name)), None) => {
            let name = name.filter(|name| !name.is_empty());
            let missing = "is missing: it says who our user is";
            let name = name.ok_or_else(|| contradiction(&format!("{path}.xauth_id"), missing))?;
            (path, UserAuth::Ours { name }, &pad.local_auth, &pad.remote_auth)
        }
        (None, Some((path, _))) => {
            let user = UserAuth::Peers { message: None };
            (path, user, &pad.remote_auth, &pad.local_auth)
        }
        (None, None) => return Ok(()),
    };
    if of_user == &AuthSpec::Null && of_gateway.signature().is_none() {
        let reason = "the user alone is proven (hybrid), so the other side needs auth = pubkey";
        return Err(contradiction(&path, reason));
    }
    connection.remote_access.user = user;
    Ok(())
}

/// What is otherwise of IKEv2: its defaults become those of IKEv1, and what IKEv1 has no place for is refused.
fn settle_rest(connection: &mut Connection) -> Result<(), ConnError> {
    if connection.pad.ppk.is_some() {
        return Err(contradiction("ppk_id", "IKEv1 has no place for it; use version = 2"));
    }
    // IKEv1 renews its SA by authenticating anew: there is nothing else.
    let times = [connection.rekey_time, connection.reauth_time];
    connection.rekey_time =
        times.into_iter().filter(|time| !time.is_zero()).min().unwrap_or_default();
    connection.reauth_time = std::time::Duration::ZERO;
    if connection.proposals == ProposalSpec::ike_default() {
        connection.proposals = ikev1_rules::phase_1_default();
    }
    if !connection.proposals.iter().any(ikev1_rules::is_of_phase_1) {
        let reason = "IKEv1 has numbers for none of these; use aes256-sha256-modp2048";
        return Err(contradiction("proposals", reason));
    }
    let mut children = std::mem::take(&mut connection.children);
    for child in &mut children {
        bundle::settle(connection, child)?;
        if child.proposals == ProposalSpec::esp_default() {
            child.proposals = ikev1_rules::phase_2_default();
        }
        refuse(connection, child)?;
    }
    if children.is_empty() {
        refuse_all(connection, None, "version")?;
    }
    connection.children = children;
    Ok(())
}

fn refuse(connection: &Connection, child: &ChildConfig) -> Result<(), ConnError> {
    let path = format!("children.{}", child.name);
    let access = &connection.remote_access;
    let is_fixed = |specs: &[TsSpec]| specs.iter().any(|ts| ts.selector().is_some());
    let sides = [
        (access.client.is_some(), "local_ts", &child.local_ts),
        (access.server.is_some(), "remote_ts", &child.remote_ts),
    ];
    for (gets, key, specs) in sides {
        if gets && is_fixed(specs) {
            let reason = "is not known before there is an address; use dynamic";
            return Err(contradiction(&format!("{path}.{key}"), reason));
        }
        if gets && child.mode != Mode::Tunnel {
            let reason = "an address inside needs a tunnel; use tunnel";
            return Err(contradiction(&format!("{path}.mode"), reason));
        }
    }
    refuse_all(connection, Some(child), &path)
}

fn refuse_all(
    connection: &Connection,
    child: Option<&ChildConfig>,
    path: &str,
) -> Result<(), ConnError> {
    match ikev1_rules::refused_of(connection, child, true).first() {
        None => Ok(()),
        Some((sentence, help)) => Err(ConnError {
            path: path.to_owned(),
            reason: ConnReason::BadValue {
                value: "IKEv1".to_owned(),
                reason: format!("{sentence}; {help}"),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use adit_db::{ChildName, Encap};

    use super::super::tests::{load, load_with};
    use super::*;
    use crate::vici::pool::Pool;

    fn v1(lines: &[(&str, &str)]) -> Result<Connection, ConnError> {
        let network = "10.9.0.0/24".parse().unwrap();
        let pool = Pool { network, settings: adit_db::ClientSettings::default() };
        let pools = Pools::from([("rw".to_owned(), pool)]);
        load_with(&[&[("version", "1")], lines].concat(), &pools)
    }

    fn refused(lines: &[(&str, &str)]) -> String {
        v1(lines).unwrap_err().to_string()
    }

    #[test]
    fn version_1_is_ikev1_with_what_it_can_carry() {
        let plain = v1(&[]).unwrap();
        assert_eq!((plain.ike, plain.aggressive), (IkeVersion::V1, Aggressive::Refuse));
        assert!(plain.proposals.iter().all(ikev1_rules::is_of_phase_1));
        assert_eq!(plain.children[0].proposals, ikev1_rules::phase_2_default());
        assert!(plain.remote_access.is_none());
        let own = v1(&[("proposals", "aes128-sha1-modp1024"), ("encap", "yes")]).unwrap();
        assert_eq!((own.proposals.len(), own.encap), (1, Encap::Udp));
        assert_eq!(v1(&[("aggressive", "yes")]).unwrap().aggressive, Aggressive::Initiate);
        // What renews an IKE SA is authentication.
        let both = v1(&[("reauth_time", "3h"), ("rekey_time", "8h")]).unwrap();
        assert_eq!([both.rekey_time, both.reauth_time].map(|time| time.as_secs()), [10_800, 0]);
        let alone = v1(&[("reauth_time", "3h")]).unwrap();
        assert_eq!(alone.rekey_time.as_secs(), 10_800);
        assert_eq!(v1(&[("rekey_time", "0")]).unwrap().rekey_time.as_secs(), 0);
    }

    /// CHECKLIST W01: a user after the pre-shared key, ours or the peer's.
    #[test]
    fn a_round_of_xauth_is_a_user() {
        let gateway = v1(&[("remote-xauth.auth", "xauth")]).unwrap();
        assert_eq!(gateway.remote_access.user, UserAuth::Peers { message: None });
        assert_eq!(gateway.pad.remote_auth, AuthSpec::Psk);
        assert!(gateway.pad.more_remote.is_empty());
        let client = [("local-x.auth", "xauth-generic"), ("local-x.xauth_id", "alice")];
        let client = v1(&client).unwrap();
        assert_eq!(client.remote_access.user, UserAuth::Ours { name: "alice".to_owned() });
        let by_id = v1(&[("local-x.auth", "xauth"), ("local-x.id", "bob")]).unwrap();
        assert_eq!(by_id.remote_access.user, UserAuth::Ours { name: "bob".to_owned() });
        for (lines, said) in [
            (&[("local-x.auth", "xauth")][..], "local-x.xauth_id: is missing"),
            (&[("remote-x.auth", "xauth-pam")], "remote-x.auth: \"xauth-pam\": users are those"),
            (&[("remote-x.auth", "psk")], "remote: IKEv1 has one round"),
            (&[("remote.auth", "xauth")], "remote: the user alone is proven (hybrid)"),
        ] {
            let error = refused(lines);
            assert!(error.contains(said), "{error}");
        }
        let both = [("remote-x.auth", "xauth"), ("local-x.auth", "xauth"), ("local-x.id", "a")];
        assert!(refused(&both).contains("one side has a user"));
        let v2 = load(&[("remote-x.auth", "xauth")]).unwrap_err().to_string();
        assert_eq!(v2, "remote-x.auth: XAuth is of IKEv1; use version = 1");
    }

    /// CHECKLIST W03: a password on the one side, a certificate on the other.
    #[test]
    fn xauth_alone_is_hybrid() {
        let gateway = v1(&[("local.auth", "pubkey"), ("remote.auth", "xauth")]).unwrap();
        assert_eq!(gateway.pad.remote_auth, AuthSpec::Null);
        assert!(gateway.pad.local_auth.signature().is_some());
        let client =
            [("local.auth", "xauth"), ("local.xauth_id", "alice"), ("remote.auth", "pubkey")];
        let client = v1(&client).unwrap();
        assert_eq!(client.pad.local_auth, AuthSpec::Null);
    }

    /// CHECKLIST W05: one side asks for an address, or waits; the other has pools.
    #[test]
    fn addresses_come_from_pools() {
        let gateway = v1(&[("pools", "rw")]).unwrap().remote_access.server.unwrap();
        assert_eq!(gateway.pool, ["10.9.0.0/24".parse().unwrap()]);
        assert_eq!(gateway.mode, ConfigMode::Pull);
        let client = v1(&[("vips", "0.0.0.0"), ("pull", "no")]).unwrap().remote_access.client;
        assert_eq!(client, Some(ConfigClient { mode: ConfigMode::Push }));
        for (lines, said) in [
            (&[("pools", "other")][..], "pools: \"other\": there is no pool \"other\""),
            (&[("pools", "rw"), ("vips", "::")], "one side gives addresses"),
            (&[("vips", "10.9.0.7")], "the peer chooses the address"),
            (&[("vips", "::"), ("children.net.local_ts", "10.1.0.0/24")], "use dynamic"),
            (&[("pools", "rw"), ("children.net.mode", "transport")], "needs a tunnel"),
        ] {
            let error = refused(lines);
            assert!(error.contains(said), "{error}");
        }
        for line in [("vips", "0.0.0.0"), ("pools", "rw"), ("aggressive", "yes")] {
            let error = load(&[line]).unwrap_err().to_string();
            assert!(error.contains("version = 1"), "{error}");
        }
    }

    #[test]
    fn what_ikev1_has_no_place_for_is_refused() {
        for (lines, said) in [
            (&[("ppk_id", "k")][..], "ppk_id: IKEv1 has no place for it"),
            (&[("proposals", "aes256gcm16-prfsha256-x25519")], "proposals: IKEv1 has numbers"),
            (&[("local.auth", "pubkey")], "both sides prove themselves in the same way"),
            (&[("children.net.local_ts", "0.0.0.0/0[tcp/1-9]")], "one port or all of them"),
            (&[("version", "3")], "must be 1 or 2"),
        ] {
            let error = refused(lines);
            assert!(error.contains(said), "{error}");
        }
        let child = ChildConfig::new("net".parse::<ChildName>().unwrap());
        assert!(refuse(&v1(&[]).unwrap(), &child).is_ok());
    }
}
