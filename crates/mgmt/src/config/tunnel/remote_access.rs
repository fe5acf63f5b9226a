//! Remote clients: a user beside the device (`[xauth]`; draft-beaulieu-ike-xauth-02), and an address inside
//! (`[mode_config]`; draft-ietf-ipsec-isakmp-mode-cfg-05).
//!
//! ```toml
//! [xauth]                         # gateway               # client
//! users   = "file:users"          # NAME PASSWORD          user     = "alice"
//! message = "Who is there?"                              # password = "file:alice.password"
//!
//! [mode_config]
//! pool    = "10.9.0.0/24"                                # address  = "ask"
//! dns     = "10.1.0.53"
//! ```

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use adit_crypto::Secret;
use adit_db::{
    AuthSpec, ConfigClient, ConfigMode, ConfigServer, Connection, IkeVersion, Mode, RemoteAccess,
    TsSpec, UserAuth,
};
use ipnet::IpNet;

use super::super::fields::{Fields, Placed, Row};
use super::super::memo::Memo;
use super::super::report::{Mistake, tunnel_name};
use super::super::{MoreSecrets, SecretFile};
use super::{no_file, refuse_open_file};
use crate::codes::Code;
use crate::secret::trim_secret;

/// Users of one tunnel.
const USERS_MAX: usize = 65_536;

/// Octets of a user's name and of a password: XAUTH sends them in one attribute.
const WORD_OCTETS_MAX: usize = 255;

const XAUTH_KEYS: [&str; 5] = ["user", "password", "users", "message", "hybrid"];

const CONFIG_KEYS: [&str; 11] = [
    "address",
    "pool",
    "push",
    "dns",
    "nbns",
    "domain",
    "split_dns",
    "split",
    "exclude",
    "banner",
    "save_password",
];

const YES_NO: &[(&str, bool)] = &[("yes", true), ("no", false)];

const ADDRESS: &[(&str, ConfigMode)] = &[("ask", ConfigMode::Pull), ("wait", ConfigMode::Push)];

/// Reads both tables; the secrets go where the tunnel's others are.
pub(super) fn read(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    version: IkeVersion,
    connection: &mut Connection,
    secrets: &mut MoreSecrets,
) {
    let users = fields.key_span("xauth");
    let addresses = fields.key_span("mode_config");
    let mut access = RemoteAccess::default();
    let mut hybrid_at = None;
    match &users {
        Some(table) => {
            access.user = read_xauth(fields, memo, table.clone(), secrets, &mut hybrid_at);
        }
        None => fields.optional("xauth"),
    }
    match &addresses {
        Some(table) => read_mode_config(fields, table.clone(), &mut access),
        None => fields.optional("mode_config"),
    }
    for (span, table, instead) in [
        (users, "xauth", "IKEv2 has certificates for users"),
        (addresses, "mode_config", "not built for IKEv2 yet"),
    ] {
        if let Some(span) = span.filter(|_| version == IkeVersion::V2) {
            fields.mistake(
                Mistake::new(span, format!("[{table}] is a matter of IKEv1"))
                    .label(instead)
                    .help("add ike = 1, or leave the table out"),
            );
        }
    }
    check_sides(fields, connection, &access);
    if let Some(span) = hybrid_at {
        be_hybrid(fields, span, connection, &access.user);
    }
    connection.remote_access = access;
}

// ---- Users ----

#[derive(Default)]
struct Xauth {
    user: Option<Placed<String>>,
    password: Option<Placed<String>>,
    users: Option<Placed<String>>,
    message: Option<Placed<String>>,
    hybrid: Option<Placed<String>>,
}

fn read_xauth(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    table: Range<usize>,
    secrets: &mut MoreSecrets,
    hybrid_at: &mut Option<Range<usize>>,
) -> UserAuth {
    let mut xauth = Xauth::default();
    for row in fields.table("xauth").unwrap_or_default() {
        let Some((key, text)) = single(fields, "xauth", row) else { continue };
        let place = match key.value.as_str() {
            "user" => &mut xauth.user,
            "password" => &mut xauth.password,
            "users" => &mut xauth.users,
            "message" => &mut xauth.message,
            "hybrid" => &mut xauth.hybrid,
            _ => {
                unknown(fields, "xauth", &key, &XAUTH_KEYS);
                continue;
            }
        };
        *place = Some(text);
    }
    let hybrid = xauth.hybrid.take();
    let word = hybrid.and_then(|text| fields.word_of("hybrid", &text, YES_NO));
    *hybrid_at = word.filter(|word| word.value).map(|word| word.span);
    match xauth {
        Xauth {
            user: Some(user), password: Some(password), users: None, message: None, ..
        } => {
            if !is_word(&user.value) {
                let help = "a name has 1 to 255 octets and no blanks";
                fields.mistake(Mistake::new(user.span, "`user` is no name of a user").label(help));
            }
            let octets = read_file(fields, memo, "password", &password);
            secrets.password = octets.and_then(|file| one_password(fields, &password, &file));
            UserAuth::Ours { name: user.value }
        }
        Xauth { user: None, password: None, users: Some(users), message, .. } => {
            if let Some(file) = read_file(fields, memo, "users", &users) {
                secrets.users = read_users(fields, &users, &file);
            }
            UserAuth::Peers { message: message.map(|message| message.value) }
        }
        _ => {
            let name = tunnel_name(fields.file);
            fields.mistake(
                Mistake::new(table, "[xauth] does not say which side has the user")
                    .label("needs `user` and `password`, or `users`")
                    .help(format!(
                        "user = \"alice\" and password = \"file:{name}.password\": we are"
                    ))
                    .help(format!("users = \"file:{name}.users\": the peer is")),
            );
            UserAuth::None
        }
    }
}

/// The user's password is the only proof of that side, and the other one signs
/// (draft-ietf-ipsec-isakmp-hybrid-auth-05).
fn be_hybrid(
    fields: &mut Fields<'_>,
    span: Range<usize>,
    connection: &mut Connection,
    user: &UserAuth,
) {
    let pad = &mut connection.pad;
    let (of_user, of_gateway, help) = match user {
        UserAuth::None => return,
        UserAuth::Ours { .. } => (
            &mut pad.local_auth,
            &pad.remote_auth,
            "ca = \"file:ca.pem\", who signs the gateway's certificate; and no `secret` or `cert`",
        ),
        UserAuth::Peers { .. } => (
            &mut pad.remote_auth,
            &pad.local_auth,
            "cert = \"file:gw.pem\" and key = \"file:gw.key\"; and no `secret`",
        ),
    };
    if of_gateway.signature().is_none() {
        fields.mistake(
            Mistake::new(span, "with `hybrid` the gateway proves itself by a certificate")
                .label("here is none")
                .help(help),
        );
        return;
    }
    *of_user = AuthSpec::Null;
    if !pad.claims.is_empty() {
        fields.mistake(
            Mistake::new(span, "with `hybrid` nobody proves the name that `claims` go by")
                .label("the user alone is proven")
                .help("leave [claims] out"),
        );
    }
}

/// What is right for a name or a password of one line.
fn is_word(text: &str) -> bool {
    let is_long = text.len() > WORD_OCTETS_MAX;
    !text.is_empty() && !is_long && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn read_file(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    key: &str,
    name: &Placed<String>,
) -> Option<SecretFile> {
    let Some(file) = name.value.strip_prefix("file:") else {
        fields.mistake(no_file(name.span.clone(), key, &name.value));
        return None;
    };
    let path: PathBuf = fields.file.path.parent().unwrap_or_else(|| Path::new("")).join(file);
    match memo.secret(&path) {
        Err(error) => {
            fields.mistake(
                Mistake::new(name.span.clone(), format!("{} cannot be read", path.display()))
                    .code(Code::E512)
                    .label(error),
            );
            None
        }
        Ok(file) => {
            refuse_open_file(fields, name.span.clone(), &path, &file);
            Some(SecretFile { octets: file.octets.duplicate(), mode: file.mode })
        }
    }
}

fn one_password(
    fields: &mut Fields<'_>,
    name: &Placed<String>,
    file: &SecretFile,
) -> Option<Secret> {
    let octets = trim_secret(file.octets.as_bytes());
    if octets.is_empty() || octets.len() > WORD_OCTETS_MAX {
        fields.mistake(
            Mistake::new(name.span.clone(), "there is no password in the file")
                .label("must be one of 1 to 255 octets"),
        );
        return None;
    }
    Some(Secret::from_slice(octets))
}

/// `NAME PASSWORD`, a line for each; what begins with `#` is a remark. A password may have blanks inside.
fn read_users(
    fields: &mut Fields<'_>,
    name: &Placed<String>,
    file: &SecretFile,
) -> Vec<(String, Secret)> {
    let mut users: Vec<(String, Secret)> = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    let lines = file.octets.as_bytes().split(|octet| *octet == b'\n');
    for (number, line) in (1_usize..).zip(lines) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let split = line.iter().position(u8::is_ascii_whitespace);
        let parts = split.and_then(|at| line.split_at_checked(at));
        let user = parts.and_then(|(user, rest)| {
            let user = std::str::from_utf8(user).ok().filter(|user| is_word(user))?;
            let password = rest.trim_ascii();
            let fits = (1..=WORD_OCTETS_MAX).contains(&password.len());
            fits.then(|| (user.to_owned(), Secret::from_slice(password)))
        });
        let sentence = match user {
            // The line itself is not repeated: there is a password in it.
            None => format!("line {number} of the users is no name with a password"),
            Some((user, _)) if names.contains(&user) => {
                format!("line {number} of the users has a name for the second time")
            }
            Some(_) if users.len() >= USERS_MAX => "there are too many users".to_owned(),
            Some((user, password)) => {
                names.insert(user.clone());
                users.push((user, password));
                continue;
            }
        };
        fields.mistake(
            Mistake::new(name.span.clone(), sentence).label("must be lines of NAME PASSWORD"),
        );
        return Vec::new();
    }
    if users.is_empty() {
        fields.mistake(
            Mistake::new(name.span.clone(), "there are no users in the file")
                .label("must be lines of NAME PASSWORD"),
        );
    }
    users
}

// ---- Addresses ----

fn read_mode_config(fields: &mut Fields<'_>, table: Range<usize>, access: &mut RemoteAccess) {
    let mut server = ConfigServer::default();
    let (mut client, mut of_server) = (None, false);
    for row in fields.table("mode_config").unwrap_or_default() {
        if row.0.value == "address" {
            let Some((_, text)) = single(fields, "mode_config", row) else { continue };
            client = fields.word_of("address", &text, ADDRESS).map(|word| word.value);
            continue;
        }
        of_server = true;
        read_server_row(fields, row, &mut server);
    }
    match (client, of_server) {
        (Some(mode), false) => access.client = Some(ConfigClient { mode }),
        (None, true) if !server.pool.is_empty() => access.server = Some(server),
        (Some(_), true) => fields.mistake(
            Mistake::new(table, "[mode_config] is for one side alone")
                .label("`address` is a client's, the rest is a gateway's"),
        ),
        (None, _) => fields.mistake(
            Mistake::new(table, "[mode_config] does not say who gets an address")
                .label("needs `pool`, or `address`")
                .help("pool = \"10.9.0.0/24\": the peer gets one of these")
                .help("address = \"ask\": we get ours from the peer"),
        ),
    }
}

fn read_server_row(fields: &mut Fields<'_>, row: Row, server: &mut ConfigServer) {
    let settings = &mut server.settings;
    match row.0.value.as_str() {
        "pool" => server.pool = networks(fields, "pool", row.1),
        "split" => settings.split = networks(fields, "split", row.1),
        "exclude" => settings.exclude = networks(fields, "exclude", row.1),
        "dns" => settings.dns = values(fields, "dns", row.1, "an address"),
        "nbns" => settings.nbns = values(fields, "nbns", row.1, "an IPv4 address"),
        "split_dns" => settings.split_dns = texts(row.1),
        "domain" | "banner" | "push" | "save_password" => {
            let Some((key, text)) = single(fields, "mode_config", row) else { return };
            match key.value.as_str() {
                "domain" => settings.domain = Some(text.value),
                "banner" => settings.banner = Some(text.value),
                "push" => {
                    let push = fields.word_of("push", &text, YES_NO).is_some_and(|it| it.value);
                    server.mode = if push { ConfigMode::Push } else { ConfigMode::Pull };
                }
                _ => {
                    let word = fields.word_of("save_password", &text, YES_NO);
                    settings.save_password = word.is_some_and(|it| it.value);
                }
            }
        }
        _ => unknown(fields, "mode_config", &row.0, &CONFIG_KEYS),
    }
}

fn texts(texts: Vec<Placed<String>>) -> Vec<String> {
    texts.into_iter().map(|text| text.value).collect()
}

fn values<T: FromStr>(
    fields: &mut Fields<'_>,
    key: &str,
    texts: Vec<Placed<String>>,
    wanted: &str,
) -> Vec<T> {
    let mut values = Vec::new();
    for text in texts {
        match text.value.parse() {
            Ok(value) => values.push(value),
            Err(_) => fields.mistake(
                Mistake::new(text.span, format!("`{key}` of [mode_config] cannot be understood"))
                    .label(format!("must be {wanted}")),
            ),
        }
    }
    values
}

fn networks(fields: &mut Fields<'_>, key: &str, texts: Vec<Placed<String>>) -> Vec<IpNet> {
    let networks: Vec<IpNet> = values(fields, key, texts, "a network such as \"10.9.0.0/24\"");
    networks.into_iter().map(|net| net.trunc()).collect()
}

/// Whoever gets an address speaks from it, and from nothing else.
fn check_sides(fields: &mut Fields<'_>, connection: &Connection, access: &RemoteAccess) {
    let Some(child) = connection.children.first() else { return };
    let is_fixed = |specs: &[TsSpec]| specs.iter().any(|ts| ts.selector().is_some());
    let sides = [
        (access.client.is_some(), "local", &child.local_ts),
        (access.server.is_some(), "remote", &child.remote_ts),
    ];
    for (gets, key, specs) in sides {
        if gets && is_fixed(specs) {
            let sentence = format!("`{key}` is not known before there is an address");
            let help = format!("{key} = \"dynamic\"");
            let mistake = match fields.key_span(key) {
                Some(span) => Mistake::new(span, sentence).label("names a network"),
                None => Mistake::whole_file(sentence),
            };
            fields.mistake(mistake.help(help));
        }
    }
    let gets_any = access.client.is_some() || access.server.is_some();
    if gets_any && child.mode != Mode::Tunnel {
        fields.mistake(
            Mistake::whole_file("an address inside needs a tunnel").help("mode = \"tunnel\""),
        );
    }
}

// ---- Rows ----

/// The one text of a row.
fn single(
    fields: &mut Fields<'_>,
    table: &str,
    (key, texts): Row,
) -> Option<(Placed<String>, Placed<String>)> {
    match <[Placed<String>; 1]>::try_from(texts) {
        Ok([text]) => Some((key, text)),
        Err(_) => {
            let sentence = format!("`{}` of [{table}] must be one string", key.value);
            fields.mistake(Mistake::new(key.span, sentence).label("a list"));
            None
        }
    }
}

fn unknown(fields: &mut Fields<'_>, table: &str, key: &Placed<String>, known: &[&'static str]) {
    let nearest = adit_db::nearest(&key.value, known.iter().copied());
    fields.mistake(
        Mistake::new(key.span.clone(), format!("unknown key `{}` in [{table}]", key.value))
            .label(format!("must be one of {}", known.join(", ")))
            .help_some(nearest.map(|word| format!("did you mean `{word}`?"))),
    );
}
