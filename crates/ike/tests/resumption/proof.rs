//! A ticket stands for what the client has proven, to whom, and when.

use std::sync::Arc;
use std::time::Duration;

use adit_db::{AuthSpec, Connection, IdentityPattern, RemoteRound, SignatureSpec};
use adit_ike::Command;
use adit_wire::iana::ExchangeType;

use super::{RESUMED, Session, header, resuming};
use crate::common::connections;

fn by_certificate() -> AuthSpec {
    AuthSpec::Signature(Arc::new(SignatureSpec::default()))
}

/// Road warriors with a secret of their group.
fn of_a_group() -> [Connection; 2] {
    let mut connections = resuming(connections());
    connections[1].pad.remote_id = "%any".parse().unwrap();
    connections
}

/// Who knows the secret of a group may call itself what it likes, and a ticket tells who it was: it is
/// not for the connection of who bears that name and has more to prove.
#[test]
fn a_ticket_is_for_the_connection_that_gave_it() {
    let mut session = Session::new(of_a_group());
    let mut admin = session.connections[1].clone();
    admin.name = "admin".parse().unwrap();
    admin.pad.remote_id = "left.example".parse().unwrap();
    admin.pad.remote_auth = by_certificate();
    session.others.push(admin);
    session.crash();
    session.recover();
    assert_eq!(session.begun, RESUMED);
    let info = session.pair.right.established().remove(0);
    assert!(info.resumed);
    assert_eq!(info.connection.unwrap().as_str(), "tunnel");
}

/// What the gateway asks for by now was not proven when the session began.
#[test]
fn a_ticket_is_for_what_was_proven() {
    let id: IdentityPattern = "alice@left.example".parse().unwrap();
    let changes: [&dyn Fn(&mut Connection); 4] = [
        &|one| one.pad.remote_auth = by_certificate(),
        &|one| one.pad.remote_id = "*.example".parse().unwrap(),
        &|one| one.pad.more_remote.push(RemoteRound { id: id.clone(), auth: AuthSpec::Psk }),
        &|one| one.name = "another".parse().unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut session = Session::new(of_a_group());
        change(&mut session.connections[1]);
        session.crash();
        session.begun.clear();
        session.run_for(300, |_| true);
        assert!(session.begun.starts_with(&[ExchangeType::INFORMATIONAL]));
        assert!(session.begun.contains(&ExchangeType::IKE_SESSION_RESUME));
        let established = session.pair.right.established();
        assert!(established.iter().all(|info| !info.resumed), "{number}");
        // The secret is still enough for the second and the last.
        assert_eq!(established.len(), number % 2, "{number}");
    }
}

/// RFC 4478: who resumes has not authenticated anew, however often, and is to do so when it had to.
#[test]
fn the_time_of_authentication_goes_on() {
    const REAUTH: Duration = Duration::from_secs(1_000);
    for limits in [[false, true], [true, false], [true, true]] {
        let mut connections = resuming(connections());
        for (connection, has_limit) in connections.iter_mut().zip(limits) {
            connection.rand_time = Duration::ZERO;
            connection.reauth_time = if has_limit { REAUTH } else { Duration::ZERO };
        }
        let mut session = Session::new(connections);
        // A gateway that restarts knows its clock by the second.
        let until = session.pair.now + REAUTH + Duration::from_secs(1);
        for _ in 0..2 {
            session.crash();
            session.recover();
            assert!(session.is_resumed());
            for (peer, has_limit) in [&session.pair.left, &session.pair.right].iter().zip(limits) {
                let at = peer.established()[0].reauth_at;
                assert!(at.is_some() || !has_limit);
                assert!(at.is_none_or(|at| session.pair.now < at && at <= until));
            }
        }
        session.crash();
        session.run_for(until.duration_since(session.pair.now).as_secs() + 1, |_| false);
        session.recover();
        assert!(!session.is_resumed() || !limits[1]);
    }
}

/// An attempt that waits for IKE_AUTH does not come through when the session is taken down meanwhile.
#[test]
fn a_ticket_that_became_void_is_not_good_in_ike_auth() {
    for is_taken_down in [false, true] {
        let mut session = Session::new(resuming(connections()));
        session.run_for(150, |_| false);
        let old = session.pair.right.established()[0].id;
        // The request and its response, and no more.
        let is_resume = |octets: &[u8]| header(octets).exchange == ExchangeType::IKE_SESSION_RESUME;
        session.begun.clear();
        while session.pair.right.endpoint.ike_sas().count() == 1 {
            session.run_for(1, is_resume);
        }
        if is_taken_down {
            let request = session.pair.right.request();
            let command = Command::TerminateIke { id: old, request };
            session.pair.right.command(command, session.pair.now);
            // The old IKE SA of the client is no more, so the gateway is not answered.
            session.run_for(1, |_| false);
        }
        session.begun.clear();
        session.run_for(300, |_| true);
        session.pair.assert_one_tunnel();
        assert_eq!(session.is_resumed(), !is_taken_down);
    }
}
