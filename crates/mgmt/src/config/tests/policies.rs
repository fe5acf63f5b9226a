//! Policies beside the tunnels: what is read, what is refused, what is warned of.

use adit_db::Action;

use super::*;

pub(super) fn policy(name: &str, text: &str) -> SourceFile {
    SourceFile { path: format!("policies/{name}.toml").into(), text: text.to_owned() }
}

pub(super) fn load_policies(policies: &[SourceFile]) -> Result<Configuration, Vec<ConfigError>> {
    let tunnels = [file("berlin", FIVE_LINES)];
    load_all(Files { tunnels: &tunnels, policies, sas: &[] }, &secrets)
}

/// What no tunnel gets, in the order of the files.
#[test]
fn policies_are_read_in_their_order() {
    let configuration = load_policies(&[
        policy("10-printer", "action = \"bypass\"\nremote = \"10.2.0.5\"\n"),
        policy(
            "20-mail",
            "action = \"discard\"\nlocal = \"10.1.0.0/24\"\nremote = [\"10.2.0.0/24[tcp/25]\"]",
        ),
    ])
    .unwrap();
    assert_eq!(configuration.warnings, []);
    let told: Vec<_> = configuration
        .policies
        .iter()
        .map(|policy| {
            let entry = &policy.entry;
            let sides = [&entry.local, &entry.remote].map(|side| side.len());
            (policy.name.as_str(), entry.action, sides)
        })
        .collect();
    assert_eq!(
        told,
        [("10-printer", Action::Bypass, [2, 1]), ("20-mail", Action::Discard, [1, 1])]
    );
}

/// `adit why` names the line that says which traffic is meant.
#[test]
fn policies_know_where_they_stand() {
    let configuration = load_policies(&[
        policy("10-ping", "# no pings\naction = \"discard\"\nlocal = \"10.1.0.9\"\n\nremote = \"10.2.0.0/24[icmp/echo-request]\"\n"),
        policy("20-all", "\naction = \"discard\"\n"),
    ])
    .unwrap();
    let line = |name: &str| {
        let origin = &configuration.policy_origins[name];
        (origin.file.display().to_string(), selector_line(&origin.key_lines))
    };
    assert_eq!(line("10-ping"), ("policies/10-ping.toml".to_owned(), 5));
    assert_eq!(line("20-all"), ("policies/20-all.toml".to_owned(), 2));
    let remote = &configuration.policies[0].entry.remote;
    assert_eq!(remote[0].to_string(), "10.2.0.0/24[icmp/8(*)]");
}

/// The reference has a row for each key, and for nothing else.
#[test]
fn the_reference_names_every_key_of_a_policy() {
    let complaint = rendered(load_policies(&[policy("10-x", "port = 1\n")]).unwrap_err());
    let (_, known) = complaint.split_once("known keys: ").unwrap();
    let known: Vec<_> = known.lines().next().unwrap().split(", ").collect();
    let reference = include_str!("../../../../../docs/configuration.md");
    let (_, keys) = reference.split_once("| key of a policy |").unwrap();
    let (keys, _) = keys.split_once("\n\n").unwrap();
    let row = |line: &'static str| line.strip_prefix("| `")?.split('`').next();
    assert_eq!(keys.lines().filter_map(row).collect::<Vec<_>>(), known);
}

#[test]
fn a_type_that_may_be_a_code_is_refused() {
    let text = "action = \"bypass\"\nremote = \"10.2.0.0/24[icmp/8]\"\n";
    insta::assert_snapshot!(rendered(load_policies(&[policy("10-x", text)]).unwrap_err()), @r#"
    error[E510]: 10-x: `remote` cannot be understood
     --> policies/10-x.toml:2:10
      |
    2 | remote = "10.2.0.0/24[icmp/8]"
      |          ^^^^^^^^^^^^^^^^^^^^^ "icmp/8" names no message type: that is a name, TYPE(CODE) or TYPE(*)
      |
      = help: write for example "[icmp/echo-request]"
    "#);
}

#[test]
fn mistakes_in_policies_are_shown_in_their_place() {
    let text = "action = \"bypas\"\nlocal = \"dynamic\"\npeer = \"192.0.2.1\"\n";
    insta::assert_snapshot!(rendered(load_policies(&[policy("10-x", text)]).unwrap_err()), @r#"
    error[E510]: 10-x: unknown value for `action`
     --> policies/10-x.toml:1:10
      |
    1 | action = "bypas"
      |          ^^^^^^^ must be "bypass" or "discard"
      |
      = help: did you mean "bypass"?
    error[E510]: 10-x: `local` cannot be "dynamic"
     --> policies/10-x.toml:2:9
      |
    2 | local = "dynamic"
      |         ^^^^^^^^^ only a tunnel has an address of its own
      |
      = help: write an address or a network
    error[E510]: 10-x: unknown key `peer`
     --> policies/10-x.toml:3:1
      |
    3 | peer = "192.0.2.1"
      | ^^^^ not a key
      |
      = help: known keys: action, local, remote
    "#);
    insta::assert_snapshot!(rendered(load_policies(&[policy("10-x", "")]).unwrap_err()), @r#"
    error[E510]: 10-x: `action` is missing
    --> policies/10-x.toml
     = help: add action = "bypass" or "discard"
    "#);
}

/// A policy before the tunnel can leave nothing to it, and one behind another nothing either.
#[test]
fn policies_that_decide_nothing_are_a_warning() {
    let configuration = load_policies(&[
        policy("10-all", "action = \"discard\"\nremote = \"10.0.0.0/8\"\n"),
        policy("20-mail", "action = \"bypass\"\nremote = \"10.2.0.0/24[tcp/25]\"\n"),
    ])
    .unwrap();
    let warned: Vec<_> =
        configuration.warnings.iter().map(|w| (w.code, w.tunnel.as_str())).collect();
    assert_eq!(warned, [(Code::E517, "20-mail"), (Code::E517, "berlin")]);
}
