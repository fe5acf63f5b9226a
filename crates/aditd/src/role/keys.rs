//! The keys role: the only place where pre-shared and private keys are. It computes and checks AUTH
//! values on request (RFC 7296 §2.15) and gives nothing else away.

mod users;

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use adit_crypto::{KemKey, Secret};
use adit_db::{ConnectionName, Identity, IdentityPattern, PpkId};
use adit_ike::{AuthJob, AuthJobKind, AuthResult, JobId, Keys, PpkJob};
use adit_mgmt::vici::credentials::Loaded;
use adit_pki::{Credentials, KeyId, Moment, PrivateKey};
use adit_sys::clock;
use adit_sys::wake::{CommandReceiver, Interest, Next, wait_for};
use tracing::{debug, error, info};

pub(crate) use self::users::SharedUser;
use self::users::SharedUsers;
use crate::shards::{Refused, ShardLinks};

/// What the keys role is told.
#[derive(Debug)]
pub(crate) enum ToKeys {
    /// Sign or verify; the answer goes to the ike role.
    Auth(AuthJob),
    /// Mix a post-quantum key into the keys of an IKE SA; the answer goes to the ike role.
    Ppk(PpkJob),
    /// A secret of VICI's `load-shared`; replaces the one with the same id.
    Load(SharedSecret),
    /// A post-quantum key of VICI's `load-shared`; replaces the secret with the same id.
    LoadPpk(SharedPpk),
    /// A user's password of VICI's `load-shared`; replaces the secret with the same id.
    LoadUser(SharedUser),
    /// Forget the secret with that id.
    Unload(String),
    /// Forget every secret that did not come from the configuration directory.
    Clear,
    /// What the configuration directory says; replaces the former set.
    SetTunnels(TunnelKeys),
    /// A certificate of VICI's `load-cert`.
    LoadCert(Loaded),
    /// A private key of VICI's `load-key`.
    LoadKey(Box<PrivateKey>),
    /// Forget the private key with that fingerprint.
    UnloadKey(KeyId),
}

/// The secrets and private keys of tunnels.
#[derive(Debug, Default)]
pub(crate) struct TunnelKeys {
    /// The secrets of each tunnel.
    pub(crate) secrets: Vec<(ConnectionName, TunnelSecrets)>,
    /// The private keys. Tunnels find theirs by its public half.
    pub(crate) keys: Vec<PrivateKey>,
    /// The static ML-KEM keys. Tunnels find theirs by its name.
    pub(crate) kem_keys: Vec<KemKey>,
}

/// The secrets of one tunnel of the configuration directory.
#[derive(Debug, Default)]
pub(crate) struct TunnelSecrets {
    /// Its pre-shared key; none where no side proves itself by one.
    pub(crate) psk: Option<Secret>,
    /// That of the second round of authentication (RFC 4739).
    pub(crate) second: Option<Secret>,
    /// Its post-quantum key (RFC 8784).
    pub(crate) ppk: Option<Secret>,
    /// The password of our user (XAUTH).
    pub(crate) password: Option<Secret>,
    /// Those of the peer's users, by name.
    pub(crate) users: BTreeMap<String, Secret>,
}

impl TunnelSecrets {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        let keys = [&self.psk, &self.second, &self.ppk, &self.password];
        keys.iter().all(|key| key.is_none()) && self.users.is_empty()
    }
}

/// A post-quantum key and what it is called.
#[derive(Debug)]
pub(crate) struct SharedPpk {
    /// Its unique id.
    pub(crate) id: String,
    /// The names of it; empty is any.
    pub(crate) names: Vec<PpkId>,
    /// The key.
    pub(crate) secret: Secret,
}

/// A secret and whose it is.
#[derive(Debug)]
pub(crate) struct SharedSecret {
    /// Its unique id.
    pub(crate) id: String,
    /// Who shares it; empty is anybody.
    pub(crate) owners: Vec<IdentityPattern>,
    /// The secret.
    pub(crate) secret: Secret,
}

/// Runs until nobody can ask any more; each answer goes to the shard of the ike role that asked.
pub(crate) fn run(requests: &CommandReceiver<ToKeys>, ike: &ShardLinks) {
    let mut store = KeyStore::default();
    let mut answers = Answers::to(ike);
    loop {
        match requests.next() {
            Next::Command(request) => {
                if store.handle(request, &mut answers).is_err() {
                    return;
                }
            }
            Next::Empty => {
                if answers.flush().is_err() {
                    return;
                }
                ike.ring();
                if let Err(error) = wait_for(requests, Interest::Readable, answers.timeout()) {
                    error!(%error, "the keys role cannot wait");
                    return;
                }
            }
            Next::Closed => return,
        }
    }
}

/// A shard that has no room for answers is asked again then.
const AGAIN: Duration = Duration::from_millis(1);

/// The ways of answers. A shard that is full is not waited for: it may be waiting for this role. What
/// it has no room for is one answer for each IKE SA that is being authenticated, which are as many as
/// may be half-open.
struct Answers<'a> {
    ike: &'a ShardLinks,
    /// What each shard had no room for, in order.
    behind: Vec<VecDeque<(JobId, AuthResult)>>,
}

impl<'a> Answers<'a> {
    fn to(ike: &'a ShardLinks) -> Self {
        let behind = (0..ike.map().count()).map(|_| VecDeque::new()).collect();
        Self { ike, behind }
    }

    /// Answers of many requests wake a shard once.
    fn give(&mut self, job: JobId, result: AuthResult) -> Result<(), Gone> {
        let number = usize::from(self.ike.map().of_job(job));
        let Some(behind) = self.behind.get_mut(number) else { return Ok(()) };
        behind.push_back((job, result));
        hand_over(self.ike, behind)
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.behind.iter_mut().try_for_each(|behind| hand_over(self.ike, behind))
    }

    fn timeout(&self) -> Option<Duration> {
        self.behind.iter().any(|behind| !behind.is_empty()).then_some(AGAIN)
    }
}

/// Hands over what a shard has room for. Of those that end, the first is the last.
fn hand_over(ike: &ShardLinks, behind: &mut VecDeque<(JobId, AuthResult)>) -> Result<(), Gone> {
    while let Some((job, result)) = behind.front() {
        match ike.try_push_auth(*job, result) {
            Ok(()) => {}
            Err(Refused::Full) => return Ok(()),
            Err(Refused::Gone) if ike.map().of_job(*job) == 0 => return Err(Gone),
            Err(Refused::Gone) => {}
        }
        behind.pop_front();
    }
    Ok(())
}

/// Nobody takes answers any more.
struct Gone;

/// All secrets of this host.
#[derive(Default)]
struct KeyStore {
    tunnels: BTreeMap<ConnectionName, TunnelSecrets>,
    shared: Vec<SharedSecret>,
    ppks: Vec<SharedPpk>,
    /// Users of connections of VICI.
    users: SharedUsers,
    /// Private keys of tunnels.
    tunnel_keys: Vec<Arc<PrivateKey>>,
    /// Static ML-KEM keys of tunnels.
    kem_keys: Vec<Arc<KemKey>>,
    /// Private keys of VICI.
    keys: Vec<Arc<PrivateKey>>,
    /// Certificates of VICI.
    certificates: Vec<Loaded>,
    /// The three before, to work with.
    credentials: Credentials,
}

impl KeyStore {
    fn handle(&mut self, request: ToKeys, answers: &mut Answers<'_>) -> Result<(), Gone> {
        match request {
            ToKeys::Auth(job) => return answers.give(job.job, self.answer(&job)),
            ToKeys::Ppk(job) => return answers.give(job.job, self.mix(&job)),
            ToKeys::Load(shared) => self.load(shared),
            ToKeys::LoadPpk(ppk) => {
                self.unload(&ppk.id);
                self.ppks.push(ppk);
            }
            ToKeys::LoadUser(user) => {
                self.unload(&user.id);
                self.users.add(user);
            }
            ToKeys::Unload(id) => self.unload(&id),
            ToKeys::Clear => {
                self.users.clear();
                self.shared.clear();
                self.ppks.clear();
                self.keys.clear();
                self.certificates.clear();
                self.gather();
            }
            ToKeys::SetTunnels(tunnels) => self.set_tunnels(tunnels),
            ToKeys::LoadCert(loaded) => {
                if !self.certificates.contains(&loaded) {
                    self.certificates.push(loaded);
                    self.gather();
                }
            }
            ToKeys::LoadKey(key) => {
                let fingerprint = key.public().fingerprint();
                self.keys.retain(|known| known.public().fingerprint() != fingerprint);
                self.keys.push(Arc::from(key));
                self.gather();
            }
            ToKeys::UnloadKey(fingerprint) => {
                self.keys.retain(|key| key.public().fingerprint() != fingerprint);
                self.gather();
            }
        }
        Ok(())
    }

    fn answer(&self, job: &AuthJob) -> AuthResult {
        let secret = self.secret_for(job);
        let now = Moment(clock::unix_time().as_secs());
        let result = job.answer_with(Keys { secret, credentials: &self.credentials, now });
        if result == AuthResult::NoSecret {
            info!(connection = %job.connection, "no secret for this pair of identities");
        } else {
            debug!(connection = %job.connection, "authentication data computed or checked");
        }
        result
    }

    /// Makes the credentials of all that is loaded.
    fn gather(&mut self) {
        self.credentials.clear();
        for key in self.tunnel_keys.iter().chain(&self.keys) {
            self.credentials.add_key(Arc::clone(key));
        }
        for key in &self.kem_keys {
            self.credentials.add_kem_key(Arc::clone(key));
        }
        for loaded in &self.certificates {
            match loaded {
                Loaded::Certificate { certificate, is_authority: true } => {
                    self.credentials.add_authority(Arc::clone(certificate));
                }
                Loaded::Certificate { certificate, .. } => {
                    self.credentials.add_certificate(Arc::clone(certificate));
                }
                // Connections name those that they take.
                Loaded::PublicKey(_) => {}
            }
        }
    }

    fn mix(&self, job: &PpkJob) -> AuthResult {
        let own = self.tunnels.get(&job.connection).map(|tunnel| tunnel.ppk.as_ref());
        let is_named = |ppk: &&SharedPpk| ppk.names.is_empty() || ppk.names.contains(&job.id);
        // Later ones win, as with pre-shared keys; those of any name only if there is no other.
        let shared = || {
            let mut fitting: Vec<_> = self.ppks.iter().filter(is_named).collect();
            fitting.sort_by_key(|ppk| !ppk.names.is_empty());
            fitting.last().map(|ppk| &ppk.secret)
        };
        let Some(ppk) = own.unwrap_or_else(shared) else {
            info!(connection = %job.connection, ppk = %job.id, "no post-quantum key of this name");
            return AuthResult::NoSecret;
        };
        debug!(connection = %job.connection, ppk = %job.id, "post-quantum key mixed in");
        job.mix(ppk)
    }

    fn secret_for(&self, job: &AuthJob) -> Option<&Secret> {
        let tunnel = || self.tunnels.get(&job.connection);
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others are of the two devices")]
        match &job.kind {
            AuthJobKind::Password { user } => match tunnel() {
                Some(own) => own.password.as_ref(),
                None => self.users.password(user),
            },
            AuthJobKind::CheckPassword { user, .. } => match tunnel() {
                Some(own) => own.users.get(user),
                None => self.users.password(user),
            },
            _ => self.find(&job.connection, job.round, &job.local_id, &job.remote_id),
        }
    }

    /// A tunnel's own secret of that round; else the shared one that names the pair best. Names never
    /// choose among a tunnel's own: the peer could claim one of the second round in the first.
    fn find(
        &self,
        connection: &ConnectionName,
        round: usize,
        local: &Identity,
        remote: &Identity,
    ) -> Option<&Secret> {
        if let Some(tunnel) = self.tunnels.get(connection) {
            return if round == 0 { tunnel.psk.as_ref() } else { tunnel.second.as_ref() };
        }
        // Later ones win a tie, as a reload of a secret under a new id would expect.
        let best = self.shared.iter().filter_map(|s| Some((s.fit(local, remote)?, s)));
        best.max_by_key(|(fit, _)| *fit).map(|(_, shared)| &shared.secret)
    }

    fn load(&mut self, shared: SharedSecret) {
        self.unload(&shared.id);
        self.shared.push(shared);
    }

    fn unload(&mut self, id: &str) {
        self.shared.retain(|shared| shared.id != id);
        self.ppks.retain(|ppk| ppk.id != id);
        self.users.remove(id);
    }

    fn set_tunnels(&mut self, tunnels: TunnelKeys) {
        self.tunnels = tunnels.secrets.into_iter().collect();
        self.tunnel_keys = tunnels.keys.into_iter().map(Arc::new).collect();
        self.kem_keys = tunnels.kem_keys.into_iter().map(Arc::new).collect();
        self.gather();
    }
}

/// How well a secret fits a pair of identities; greater is better. With the same match, the
/// secret that belongs to fewer others is the better one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Fit {
    matched: Match,
    others: Reverse<usize>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Match {
    Anybody,
    Local,
    Remote,
    Both,
}

impl SharedSecret {
    /// `None` if the secret belongs to somebody else.
    fn fit(&self, local: &Identity, remote: &Identity) -> Option<Fit> {
        let owns = |identity: &Identity| self.owners.iter().any(|owner| owner.matches(identity));
        let matched = match (owns(local), owns(remote)) {
            _ if self.owners.is_empty() => Match::Anybody,
            (true, true) => Match::Both,
            (false, true) => Match::Remote,
            (true, false) => Match::Local,
            (false, false) => return None,
        };
        let stranger = |owner: &&IdentityPattern| !owner.matches(local) && !owner.matches(remote);
        let others = Reverse(self.owners.iter().filter(stranger).count());
        Some(Fit { matched, others })
    }
}

#[cfg(test)]
mod tests {
    use adit_crypto::Prf;
    use adit_db::AuthSpec;
    use adit_ike::{Announced, Proof, Shards, psk_auth};
    use adit_sys::thread::spawn_named;
    use adit_sys::wake::channel;

    use super::*;
    use crate::message::{Fleet, Input, ToIke, ToShard};
    use crate::shards::ShardMap;

    fn shared(id: &str, owners: &[&str]) -> SharedSecret {
        SharedSecret {
            id: id.into(),
            owners: owners.iter().map(|owner| owner.parse().unwrap()).collect(),
            secret: Secret::from_slice(id.as_bytes()),
        }
    }

    fn found(store: &KeyStore, connection: &str, local: &str, remote: &str) -> Option<String> {
        found_in(store, connection, 0, local, remote)
    }

    fn found_in(
        store: &KeyStore,
        connection: &str,
        round: usize,
        local: &str,
        remote: &str,
    ) -> Option<String> {
        let secret = store.find(
            &connection.parse().unwrap(),
            round,
            &local.parse().unwrap(),
            &remote.parse().unwrap(),
        )?;
        Some(String::from_utf8(secret.as_bytes().to_vec()).unwrap())
    }

    /// CHECKLIST F01: PSK by address, FQDN, key-id, any.
    #[test]
    fn the_secret_that_names_both_ends_wins() {
        let mut store = KeyStore::default();
        store.load(shared("any", &[]));
        store.load(shared("peer", &["@b.example"]));
        store.load(shared("pair", &["@a.example", "@b.example"]));
        store.load(shared("other", &["192.0.2.9"]));

        assert_eq!(found(&store, "t", "@a.example", "@b.example").unwrap(), "pair");
        assert_eq!(found(&store, "t", "@c.example", "@b.example").unwrap(), "peer");
        assert_eq!(found(&store, "t", "@c.example", "192.0.2.9").unwrap(), "other");
        assert_eq!(found(&store, "t", "@c.example", "keyid:z").unwrap(), "any");
    }

    #[test]
    fn a_tunnels_own_secret_goes_before_shared_ones() {
        let mut store = KeyStore::default();
        store.load(shared("pair", &["@a.example", "@b.example"]));
        let psk = Some(Secret::from_slice(b"own"));
        let second = Some(Secret::from_slice(b"second"));
        let secrets = TunnelSecrets { psk, second, ..TunnelSecrets::default() };
        store.set_tunnels(TunnelKeys {
            secrets: vec![("berlin".parse().unwrap(), secrets)],
            ..TunnelKeys::default()
        });

        assert_eq!(found(&store, "berlin", "@a.example", "@b.example").unwrap(), "own");
        assert_eq!(found(&store, "paris", "@a.example", "@b.example").unwrap(), "pair");
        // CHECKLIST F09: each round has its own secret, whatever names are claimed in it.
        for remote in ["@b.example", "bob@example", "192.0.2.1"] {
            assert_eq!(found_in(&store, "berlin", 0, "@a.example", remote).unwrap(), "own");
            assert_eq!(found_in(&store, "berlin", 1, "@a.example", remote).unwrap(), "second");
        }
        let psk = Some(Secret::from_slice(b"own"));
        let secrets = TunnelSecrets { psk, ..TunnelSecrets::default() };
        let secrets = vec![("berlin".parse().unwrap(), secrets)];
        store.set_tunnels(TunnelKeys { secrets, ..TunnelKeys::default() });
        assert_eq!(found_in(&store, "berlin", 1, "@a.example", "@b.example"), None);
    }

    /// CHECKLIST W01: a user's password is that of its tunnel, and whoever is no user of the tunnel has none.
    #[test]
    fn users_are_those_of_one_tunnel() {
        let mut store = KeyStore::default();
        store.load(shared("any", &[]));
        let words = |text: &str| Secret::from_slice(text.as_bytes());
        let of_oslo = TunnelSecrets { password: Some(words("horse")), ..Default::default() };
        let users = [("alice".to_owned(), words("horse"))].into();
        let of_berlin = TunnelSecrets { users, ..Default::default() };
        let secrets =
            vec![("oslo".parse().unwrap(), of_oslo), ("berlin".parse().unwrap(), of_berlin)];
        store.set_tunnels(TunnelKeys { secrets, ..TunnelKeys::default() });
        let ask = |connection: &str, kind| {
            let ToKeys::Auth(job) = sign(1, connection) else { panic!("a job") };
            store.answer(&AuthJob { kind, ..job })
        };
        let password = || AuthJobKind::Password { user: "alice".to_owned() };
        assert!(matches!(ask("oslo", password()), AuthResult::Derived(_)));
        assert_eq!(ask("berlin", password()), AuthResult::NoSecret);
        for (connection, user, password, right) in [
            ("berlin", "alice", "horse", true),
            ("berlin", "alice", "horses", false),
            ("berlin", "alice", "", false),
            ("berlin", "bob", "", false),
            ("berlin", "bob", "any", false),
            ("oslo", "alice", "horse", false),
        ] {
            let (user, password) = (user.to_owned(), words(password));
            let result = ask(connection, AuthJobKind::CheckPassword { user, password });
            let expected = if right { AuthResult::Verified } else { AuthResult::Refused };
            assert_eq!(result, expected, "{connection}");
        }
    }

    /// CHECKLIST F03: a missing secret is its own answer, not a wrong one.
    #[test]
    fn a_secret_of_others_is_no_secret() {
        let mut store = KeyStore::default();
        store.load(shared("other", &["@c.example"]));
        assert_eq!(found(&store, "t", "@a.example", "@b.example"), None);
        store.unload("other");
        assert!(store.shared.is_empty());
    }

    fn sign(job: u64, connection: &str) -> ToKeys {
        ToKeys::Auth(AuthJob {
            job: JobId(job),
            kind: AuthJobKind::Sign,
            connection: connection.parse().unwrap(),
            round: 0,
            local_id: "@a.example".parse().unwrap(),
            remote_id: "@b.example".parse().unwrap(),
            prf: Prf::HmacSha2_256,
            octets: Secret::from_slice(b"octets"),
            local_auth: AuthSpec::Psk,
            remote_auth: AuthSpec::Psk,
            announced: Announced::default(),
        })
    }

    /// What waits is answered in its order with the secrets of its time, and the role wakes whoever
    /// asked and sleeps until more comes.
    #[test]
    fn a_burst_of_requests_is_answered_in_order() {
        let (requests, from_requests) = channel(16).unwrap();
        let (ike, answers) = channel(16).unwrap();
        requests.push(ToKeys::Load(shared("any", &[]))).unwrap();
        requests.push(sign(1, "t")).unwrap();
        requests.push(sign(2, "t")).unwrap();
        requests.push(ToKeys::Unload("any".into())).unwrap();
        requests.push(sign(3, "t")).unwrap();
        requests.ring();
        let ike = ShardLinks::new(ShardMap::new(Shards::ONE), ike, Fleet::new(Vec::new()));
        let role = spawn_named("keys", move || run(&from_requests, &ike)).unwrap();

        let signed = psk_auth(Prf::HmacSha2_256, &Secret::from_slice(b"any"), b"octets");
        for (job, result) in [
            (1, AuthResult::Signed(Proof::shared_key(signed.clone()))),
            (2, AuthResult::Signed(Proof::shared_key(signed))),
            (3, AuthResult::NoSecret),
        ] {
            assert_eq!(answer(&answers), (JobId(job), result));
        }
        requests.send(sign(4, "t")).unwrap();
        assert_eq!(answer(&answers), (JobId(4), AuthResult::NoSecret));
        drop(requests);
        role.join().unwrap();
    }

    /// A shard that does not read keeps nobody else waiting, neither those who ask nor other shards, and
    /// gets its answers in order when it does.
    #[test]
    fn a_full_shard_is_not_waited_for() {
        let (requests, from_requests) = channel(1).unwrap();
        let (first, of_first) = channel(1).unwrap();
        let (second, of_second) = channel(1).unwrap();
        let map = ShardMap::new(Shards::new(2));
        let links = ShardLinks::new(map, first, Fleet::new(vec![second]));
        let role = spawn_named("keys", move || run(&from_requests, &links)).unwrap();

        for job in [1, 3, 5, 7, 2] {
            requests.send(sign(job, "t")).unwrap();
        }
        assert_eq!(answer(&of_first).0, JobId(2));
        let mut jobs = Vec::new();
        while jobs.len() < 4 {
            match of_second.next() {
                Next::Command(ToShard::Input(Input::Auth(job, _))) => jobs.push(job.0),
                Next::Empty => {
                    let wait = Some(Duration::from_secs(10));
                    assert!(wait_for(&of_second, Interest::Readable, wait).unwrap(), "no answer");
                }
                other @ (Next::Command(_) | Next::Closed) => panic!("{other:?}"),
            }
        }
        assert_eq!(jobs, [1, 3, 5, 7]);
        drop(requests);
        role.join().unwrap();
    }

    /// The next answer, when the descriptor tells of one.
    fn answer(answers: &CommandReceiver<ToIke>) -> (JobId, AuthResult) {
        loop {
            match answers.next() {
                Next::Command(ToIke::Input(Input::Auth(job, result))) => return (job, result),
                Next::Empty => {
                    let wait = Some(Duration::from_secs(10));
                    assert!(wait_for(answers, Interest::Readable, wait).unwrap(), "no answer");
                }
                other @ (Next::Command(_) | Next::Closed) => panic!("{other:?}"),
            }
        }
    }
}
