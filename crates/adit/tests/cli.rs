//! What the command line says: help, mistakes, and verbs that need no daemon.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{Folder, adit, command, run};

#[test]
fn help_lists_the_verbs() {
    insta::assert_snapshot!(adit(&["--help"]).all(), @r"
    exit 0
    IPsec tunnels, from the first try to the fleet

    Usage: adit [OPTIONS] <COMMAND>

    Commands:
      demo          Show a real tunnel on this machine: two sites in network namespaces
      check         Check the configuration without changing anything
      up            Bring a tunnel up and show each step
      down          Take a tunnel down
      restart       Take a tunnel down and bring it up again
      rekey         Replace a tunnel's keys now, without losing a packet
      reload        Read the configuration again; only tunnels that changed are touched
      status        Show the tunnels
      doctor        Look for what is wrong, try the tunnels, and print only problems
      ping          Send echo requests through a tunnel and say where they are lost
      trace         Show who is on the path through the tunnels, hop by hop
      mtu           Say what a tunnel's path takes, who has said so and when, or forget that
      why           Say what happens to a packet, and which policy decides
      why-lifetime  Say when a tunnel's SAs are renewed and end, and what each number comes from
      spd           Show the policies in the order in which they decide
      sad           Show the security associations, without their keys
      log           Show the daemon's log as it happens
      secret        Make pre-shared keys
      explain       Explain an error code, a suite of algorithms, or what becomes of ICMP
      completions   Print a completion script for a shell

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Common options:
          --vici <PATH>   Control socket of the daemon (/run/adit/vici)
          --color <WHEN>  Colours: auto is on a terminal unless NO_COLOR is set [possible values: auto,
                          always, never]

    New here? Type `adit demo`: two sites in namespaces, a real tunnel, nothing outside is touched.
    ");
}

#[test]
fn help_of_the_demo_lists_what_can_be_done_with_it() {
    insta::assert_snapshot!(adit(&["demo", "--help"]).all(), @r"
    exit 0
    Show a real tunnel on this machine: two sites in network namespaces

    Usage: adit demo [OPTIONS] [COMMAND]

    Commands:
      break   Break something and show what the operator sees
      fix     Undo every break and show the tunnel coming back
      status  Show both gateways' status
      shell   Open a shell, or run a command, in one of the demo's hosts
      stop    Take the demo down

    Options:
          --json            Print one JSON object and take the demo down again
          --once            Take the demo down again at the end
          --capture <FILE>  Keep the capture of the wire between the gateways in this file (pcap)
          --keys <DIR>      Keep the session keys, as tables for Wireshark, in this directory
          --bytes <N>       Octets of the TCP transfer (100,000,000)
          --ike <HOW>       How the gateways negotiate (IKEv2) [possible values: dhless,
                            dhless-aggressive]
      -h, --help            Print help

    Common options:
          --vici <PATH>   Control socket of the daemon (/run/adit/vici)
          --color <WHEN>  Colours: auto is on a terminal unless NO_COLOR is set [possible values: auto,
                          always, never]
    ");
    insta::assert_snapshot!(adit(&["demo", "break", "--help"]).all(), @r"
    exit 0
    Break something and show what the operator sees

    Usage: adit demo break [OPTIONS] <WHAT>

    Arguments:
      <WHAT>
              What to break

              Possible values:
              - psk:       The two pre-shared keys differ
              - id:        Oslo calls itself a name that Berlin does not know
              - proposal:  No IKE suite in common
              - esp:       No ESP suite in common
              - selectors: The two sides disagree about the networks
              - route:     Oslo sends Berlin's network elsewhere
              - port:      UDP 4500 is blocked on the way
              - daemon:    Berlin's daemon is killed
              - mtu:       A link of 1,280 octets on the way, and nobody hears of it
              - nat:       A NAT has forgotten the tunnel: what Berlin sends does not come back
              - fragments: A small link on the way, and a router that drops pieces of packets
              - oneway:    ESP from Berlin is lost, IKE passes

    Options:
          --json
              Print JSON

      -h, --help
              Print help (see a summary with '-h')

    Common options:
          --vici <PATH>
              Control socket of the daemon (/run/adit/vici)

          --color <WHEN>
              Colours: auto is on a terminal unless NO_COLOR is set
              
              [possible values: auto, always, never]
    ");
}

#[test]
fn help_of_why_says_what_a_packet_is() {
    insta::assert_snapshot!(adit(&["why", "--help"]).all(), @"
    exit 0
    Say what happens to a packet, and which policy decides

    Usage: adit why [OPTIONS] <SRC> <DST>

    Arguments:
      <SRC>  Who sends it: ADDRESS or ADDRESS:PORT, IPv6 in brackets then
      <DST>  Whom it is for; a port makes it TCP, without one it is a ping

    Options:
          --protocol <PROTOCOL>  Its protocol, by name or number
          --dscp <DSCP>          Its DSCP, by name or number, where a tunnel has classes [default: 0]
          --interface <NAME>     The interface it goes to, instead of what the routes say
          --json                 Print JSON
      -h, --help                 Print help

    Common options:
          --vici <PATH>   Control socket of the daemon (/run/adit/vici)
          --color <WHEN>  Colours: auto is on a terminal unless NO_COLOR is set [possible values: auto,
                          always, never]
    ");
    insta::assert_snapshot!(adit(&["why", "10.1.0.5", "10.2.0.7:99999"]).all(), @r#"
    exit 2
    --- standard error
    error: "10.2.0.7:99999" is no address and no ADDRESS:PORT; IPv6 with a port is [ADDRESS]:PORT
    "#);
}

#[test]
fn help_of_verbs_about_a_tunnel() {
    insta::assert_snapshot!(adit(&["up", "--help"]).all(), @r"
    exit 0
    Bring a tunnel up and show each step

    Usage: adit up [OPTIONS] <NAME>

    Arguments:
      <NAME>  The tunnel

    Options:
          --json               Print JSON, one object for each step
          --timeout <SECONDS>  Give up after so many seconds (60); 0 waits as long as it takes
      -h, --help               Print help

    Common options:
          --vici <PATH>   Control socket of the daemon (/run/adit/vici)
          --color <WHEN>  Colours: auto is on a terminal unless NO_COLOR is set [possible values: auto,
                          always, never]
    ");
    insta::assert_snapshot!(adit(&["status", "-h"]).all(), @r"
    exit 0
    Show the tunnels

    Usage: adit status [OPTIONS] [NAME]

    Arguments:
      [NAME]  Only this tunnel, with everything that is known about it

    Options:
          --engine  Show how packets are moved instead: which fast paths are on, and what they do
          --drops   Show instead which packets were dropped, for each SA and direction, and why
      -w, --watch   Repeat, once a second, until interrupted
          --json    Print JSON
      -h, --help    Print help

    Common options:
          --vici <PATH>   Control socket of the daemon (/run/adit/vici)
          --color <WHEN>  Colours: auto is on a terminal unless NO_COLOR is set [possible values: auto,
                          always, never]
    ");
}

#[test]
fn a_mistyped_verb_is_a_usage_error_with_the_right_word() {
    insta::assert_snapshot!(adit(&["stauts"]).all(), @r"
    exit 2
    --- standard error
    error: unrecognized subcommand 'stauts'

      tip: some similar subcommands exist: 'restart', 'status'

    Usage: adit [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(adit(&["demo", "break", "secret"]).all(), @r"
    exit 2
    --- standard error
    error: invalid value 'secret' for '<WHAT>'
      [possible values: psk, id, proposal, esp, selectors, route, port, daemon, mtu, nat, fragments, oneway]

      tip: a similar value exists: 'selectors'

    For more information, try '--help'.
    ");
}

#[test]
fn no_daemon_is_e520_and_exit_code_3() {
    let vici = "/nonexistent/vici";
    for verb in [
        &["status"][..],
        &["up", "x"],
        &["down", "x"],
        &["reload"],
        &["log"],
        &["spd"],
        &["sad"],
        &["why", "10.1.0.5", "10.2.0.7:443"],
    ] {
        let ran = adit(&[&["--vici", vici], verb].concat());
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{verb:?}");
        assert!(ran.err.starts_with("error[E520]: the daemon does not answer\n"), "{}", ran.err);
    }
    insta::assert_snapshot!(adit(&["--vici", vici, "status"]).all(), @r"
    exit 3
    --- standard error
    error[E520]: the daemon does not answer
      socket         /nonexistent/vici
      system says    No such file or directory (os error 2)
      fix            systemctl start aditd, or aditd --config DIR in a terminal
    ");
    insta::assert_snapshot!(adit(&["--vici", vici, "status", "--json"]).all(), @r#"
    exit 3
    {"schema":1,"error":"E520: the daemon does not answer","diagnosis":{"code":"E520","severity":"error","sentence":"the daemon does not answer","lines":[{"label":"socket","value":"/nonexistent/vici"},{"label":"system says","value":"No such file or directory (os error 2)"}],"fixes":["systemctl start aditd, or aditd --config DIR in a terminal"]}}
    "#);
}

/// CHECKLIST X06.
#[test]
fn codes_are_explained() {
    insta::assert_snapshot!(adit(&["explain", "e511"]).all(), @r"
    exit 0
    error[E511]: a secret can be read by others

    The file with a secret is readable or writable for users other than its owner.
    Whoever can read it can pretend to be either side of the tunnel, so it is
    refused.

    We know from the permissions of the file.

    `chmod 600 FILE` and, if it was readable for long, replace the secret on both
    sides: `adit secret new`.
    ");
    let list = adit(&["explain"]);
    assert_eq!(list.code, 0);
    assert!(list.out.contains("\nE513  warning  a secret is weak\n"), "{}", list.out);
    insta::assert_snapshot!(adit(&["explain", "EE121"]).all(), @r#"
    exit 2
    --- standard error
    error: there is no code "EE121"; did you mean E121? `adit explain` lists all
    "#);
    insta::assert_snapshot!(adit(&["explain", "E130", "--json"]).out, @r#"{"schema":1,"codes":[{"code":"E130","severity":"error","title":"the peer closed the tunnel","explanation":"The peer sent an authenticated Delete for the SA (RFC 7296 §1.4.1). It meant it: somebody stopped the tunnel there, its configuration changed, its lifetime ended, or its daemon shut down.\n\nWe know because the message was protected by the keys of the SA.\n\nIf it happens right after the tunnel came up, the peer did not like something it learned late: its log has the reason, which the protocol has no room for. If it happens after a fixed time, look for a lifetime without rekeying on that side.\n\nWith `keep = \"up\"` the tunnel is negotiated again; with \"on-demand\" the next packet does it; with \"passive\" it is up to the peer."}]}"#);
}

#[test]
fn suites_are_explained() {
    insta::assert_snapshot!(adit(&["explain", "suite"]).all(), @r"
    exit 0
    SUITE    AS OF    FOR
    default  2026-11  what is strong, fast and known to peers of the last ten years
    compat   2026-11  equipment from before 2018
    cnsa2    2026-07  US National Security Systems: the Commercial National Security Algorithm Suite 2.0
    fips     2026-11  algorithms that FIPS 140-3 approves

    `adit explain suite NAME` says more.
    ");
    insta::assert_snapshot!(adit(&["explain", "suite", "cnsa2"]).all(), @r#"
    exit 0
    suite = "cnsa2", as of 2026-07

    For US National Security Systems: the Commercial National Security Algorithm
    Suite 2.0.

    Source: draft-guthrie-cnsa2-ipsec-profile-04, which is to replace RFC 9206.

    Limits: the draft may still change, and wants peers to sign with ML-DSA-87,
    which is no part of this program; a peer without RFC 9370 or ML-KEM-1024 is
    refused.

    ike = "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024"
    AES-256, SHA-384, and ML-KEM-1024 in IKE_INTERMEDIATE behind ECP-384, whose
    messages fit into datagrams that nobody has to cut.

    esp = "aes256gcm16-ecp384-ke1_mlkem1024-esn-noesn"
    AES-256; a child that is rekeyed has both key exchanges of its own.
    "#);
    insta::assert_snapshot!(adit(&["explain", "suite", "cnsa"]).all(), @r#"
    exit 2
    --- standard error
    error: there is no suite "cnsa"; did you mean cnsa2? `adit explain suite` lists all
    "#);
    insta::assert_snapshot!(adit(&["explain", "E203", "cnsa2"]).all(), @r#"
    exit 2
    --- standard error
    error: a code stands alone, without "cnsa2"
    "#);
    let json = adit(&["explain", "suite", "compat", "--json"]).out;
    assert!(json.starts_with("{\"schema\":1,\"suites\":[{\"name\":\"compat\",\"date\":"), "{json}");
}

/// The table of ICMP messages, aligned, and the same as JSON.
#[test]
fn icmp_is_explained() {
    let shown = adit(&["explain", "icmp"]).out;
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows[0], "the defaults");
    let columns = ["ROW", "ICMP", "ICMPV6", "RED", "BLACK", "TUNNEL"];
    assert_eq!(rows[1], "interfaces: all but those of tunnels are red");
    assert_eq!(rows[3].split_whitespace().collect::<Vec<_>>(), columns);
    let too_big = rows.iter().find(|row| row.starts_with("too-big")).unwrap();
    let cells = ["too-big", "3/4", "2", "measure", "implicit", "implicit"];
    assert_eq!(too_big.split_whitespace().collect::<Vec<_>>(), cells);
    let json = adit(&["explain", "icmp", "--json"]).out;
    let start = "{\"schema\":1,\"tunnel\":null,\"errors\":\"implicit\",\"carry\":\"esp\",\"transit\":\"hide\",\"security_failures\":\"off\",\"red\":[],\"black\":[],\"rows\":[{\"row\":\"echo-reply\"";
    assert!(json.starts_with(start), "{json}");
}

#[test]
fn colours_come_when_asked_for() {
    assert!(adit(&["--color", "always", "explain", "E203"]).out.contains("\x1b[1;31m"));
    assert!(!adit(&["explain", "E203"]).out.contains('\x1b'), "no terminal, no colour");
    let forbidden = run(command().env("NO_COLOR", "1").args(["--color", "auto", "explain"]));
    assert!(!forbidden.out.contains('\x1b'));
}

#[test]
fn a_secret_goes_to_the_screen_or_into_a_private_file() {
    let printed = adit(&["secret", "new"]);
    assert_eq!((printed.code, printed.out.len()), (0, 44));

    let folder = Folder::new("secret");
    let file = folder.path().join("berlin.psk");
    let name = file.to_str().unwrap();
    let made = adit(&["secret", "new", name]);
    let again = adit(&["secret", "new", name]);

    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!((made.code, mode & 0o777), (0, 0o600));
    assert_eq!(std::fs::read(&file).unwrap().len(), 44);
    let text = (made.all() + &again.all()).replace(folder.text(), "DIR");
    insta::assert_snapshot!(text, @r"
    exit 0
    DIR/berlin.psk: 256 random bits, readable by you alone; copy it to the other side as it is
    exit 1
    --- standard error
    error: DIR/berlin.psk exists already and is not overwritten: both sides would need the new secret
    ");
}

const BERLIN: &str = "\
peer   = \"203.0.113.7\"
local  = \"10.1.0.0/24\"
remote = \"10.2.0.0/24\"
secret = \"file:berlin.psk\"
";

fn configuration(name: &str, berlin: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("tunnels/berlin.toml", berlin);
    folder.write("tunnels/berlin.psk", "zQ3vB7xK1mN5pR9tW2yA4cE6gH8jL0sU\n");
    let psk = folder.path().join("tunnels/berlin.psk");
    std::fs::set_permissions(psk, std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn check(folder: &Folder, more: &[&str]) -> String {
    let arguments = [&["check", "--config", folder.text()], more].concat();
    adit(&arguments).all().replace(folder.text(), "DIR")
}

#[test]
fn a_good_configuration_is_shown_as_a_plan() {
    let folder = configuration("good", BERLIN);
    insta::assert_snapshot!(check(&folder, &[]), @r"
    exit 0
    TUNNEL  KEEP  PEER         WE ARE       PEER IS      LOCAL        REMOTE       SECRET
    berlin  up    203.0.113.7  our address  203.0.113.7  10.1.0.0/24  10.2.0.0/24  file:berlin.psk (32 bytes)

    1 tunnel, 0 warnings
    ");
    insta::assert_snapshot!(check(&folder, &["--json"]), @r#"
    exit 0
    {"schema":1,"applied":false,"added":["berlin"],"changed":[],"removed":[],"unchanged":[]}
    "#);
}

#[test]
fn check_says_what_an_allowed_algorithm_costs() {
    let weak = format!("{BERLIN}esp = \"3des-sha1\"\nallow = [\"3des\"]\n");
    let text = check(&configuration("weak", &weak), &[]);
    assert!(text.starts_with("exit 0\n"), "{text}");
    assert!(text.contains("warning[E515]: berlin: 3des is allowed, and weak"), "{text}");
    assert!(text.contains("ends after 4 GiB"), "{text}");
    assert!(text.contains("1 tunnel, 1 warning\n"), "{text}");

    let refused = check(&configuration("refused", &weak.replace("3des\"]", "des\"]")), &[]);
    assert!(refused.starts_with("exit 1\n"), "{refused}");
    assert!(refused.contains("error[E514]: berlin: 3des is too weak"), "{refused}");
}

#[test]
fn policies_beside_the_tunnels_are_shown_in_their_order() {
    let folder = configuration("policies", BERLIN);
    folder
        .write("policies/20-mail.toml", "action = \"discard\"\nremote = \"10.2.0.0/24[tcp/25]\"\n");
    folder.write(
        "policies/10-admin.toml",
        "action = \"bypass\"\nlocal = \"10.1.0.9\"\nremote = [\"10.2.0.9\", \"10.2.0.10\"]\n",
    );
    insta::assert_snapshot!(check(&folder, &[]), @"
    exit 0
    POLICY    ACTION   LOCAL        REMOTE
    10-admin  bypass   10.1.0.9/32  10.2.0.9/32, 10.2.0.10/32
    20-mail   discard  any          10.2.0.0/24[tcp/25]

    TUNNEL  KEEP  PEER         WE ARE       PEER IS      LOCAL        REMOTE       SECRET
    berlin  up    203.0.113.7  our address  203.0.113.7  10.1.0.0/24  10.2.0.0/24  file:berlin.psk (32 bytes)

    1 tunnel, 0 warnings
    ");
    folder.write("policies/05-all.toml", "action = \"bypass\"\n");
    insta::assert_snapshot!(check(&folder, &[]), @"
    exit 0
    warning[E517]: 10-admin: no packet ever gets here
    --> DIR/policies/10-admin.toml
     = help: policies before it, in the order of file names, take all of its traffic

    warning[E517]: 20-mail: no packet ever gets here
    --> DIR/policies/20-mail.toml
     = help: policies before it, in the order of file names, take all of its traffic

    warning[E517]: berlin: no packet ever gets here
    --> DIR/tunnels/berlin.toml
     = help: policies before it, in the order of file names, take all of its traffic

    POLICY    ACTION   LOCAL        REMOTE
    05-all    bypass   any          any
    10-admin  bypass   10.1.0.9/32  10.2.0.9/32, 10.2.0.10/32
    20-mail   discard  any          10.2.0.0/24[tcp/25]

    TUNNEL  KEEP  PEER         WE ARE       PEER IS      LOCAL        REMOTE       SECRET
    berlin  up    203.0.113.7  our address  203.0.113.7  10.1.0.0/24  10.2.0.0/24  file:berlin.psk (32 bytes)

    1 tunnel, 3 warnings
    ");
}

#[test]
fn every_mistake_in_a_file_is_shown_in_its_place() {
    let wrong = BERLIN.replace("remote", "remtoe").replace("10.1.0.0/24", "10.1.0.0/33");
    let folder = configuration("wrong", &wrong);
    insta::assert_snapshot!(check(&folder, &[]), @r#"
    exit 1
    error[E510]: berlin: `remote` is missing
    --> DIR/tunnels/berlin.toml
     = help: add remote = "10.2.0.0/24", the networks on the peer's side

    error[E510]: berlin: `local` cannot be understood
     --> DIR/tunnels/berlin.toml:2:10
      |
    2 | local  = "10.1.0.0/33"
      |          ^^^^^^^^^^^^^ "10.1.0.0/33" is no address, network, range of addresses or "dynamic"
      |
      = help: write a network such as "10.1.0.0/24"

    error[E510]: berlin: unknown key `remtoe`
     --> DIR/tunnels/berlin.toml:3:1
      |
    3 | remtoe = "10.2.0.0/24"
      | ^^^^^^ not a key
      |
      = help: did you mean `remote`?

    3 errors, 0 warnings in 1 file
    "#);
}

#[test]
fn a_secret_open_to_others_is_an_error() {
    let folder = configuration("open", BERLIN);
    let psk = folder.path().join("tunnels/berlin.psk");
    std::fs::set_permissions(psk, std::fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(check(&folder, &[]), @r#"
    exit 1
    error[E511]: berlin: DIR/tunnels/berlin.psk can be read or changed by other users
     --> DIR/tunnels/berlin.toml:4:10
      |
    4 | secret = "file:berlin.psk"
      |          ^^^^^^^^^^^^^^^^^ its permissions are 0644, must be 0600
      |
      = help: chmod 600 DIR/tunnels/berlin.psk

    1 error, 0 warnings in 1 file
    "#);
}

#[test]
fn an_empty_or_missing_configuration_says_where_tunnels_go() {
    let folder = Folder::new("empty");
    insta::assert_snapshot!(check(&folder, &[]), @r"
    exit 1
    --- standard error
    error[E512]: DIR/tunnels cannot be read
      system says    No such file or directory (os error 2)
      fix            put NAME.toml into DIR/tunnels, or name another place with --config DIR
    ");
    std::fs::create_dir(folder.path().join("tunnels")).unwrap();
    insta::assert_snapshot!(check(&folder, &[]), @r"
    exit 0
    no tunnels: put one into DIR/tunnels/NAME.toml
    ");
}

#[test]
fn completions_and_man_pages_come_from_the_same_description() {
    for shell in ["bash", "zsh", "fish"] {
        let script = adit(&["completions", shell]);
        assert_eq!(script.code, 0);
        assert!(script.out.contains("restart"), "{shell} knows the verbs");
    }
    let folder = Folder::new("man");
    assert_eq!(adit(&["man", folder.text()]).code, 0);
    let mut pages: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    insta::assert_snapshot!(pages.join(" "), @r"
    adit-check.1 adit-completions.1 adit-demo-break.1 adit-demo-fix.1 adit-demo-shell.1 adit-demo-status.1 adit-demo-stop.1 adit-demo.1 adit-doctor.1 adit-down.1 adit-explain.1 adit-log.1 adit-mtu.1 adit-ping.1 adit-rekey.1 adit-reload.1 adit-restart.1 adit-sad.1 adit-secret-new.1 adit-secret.1 adit-spd.1 adit-status.1 adit-trace.1 adit-up.1 adit-why-lifetime.1 adit-why.1 adit.1
    ");
}

#[test]
fn orders_to_a_demo_that_does_not_run_say_so() {
    let folder = Folder::new("no-demo");
    let directory = folder.path().join("demo");
    let directory = directory.to_str().unwrap();
    for order in [&["break", "psk"][..], &["fix"], &["status"], &["stop"], &["shell", "oslo-gw"]] {
        let ran = adit(&[&["demo", "--directory", directory], order].concat());
        let said = (ran.code, ran.out.as_str(), ran.err.as_str());
        let expected = "error: no demo is running; `adit demo` starts one\n";
        assert_eq!(said, (1, "", expected), "{order:?}");
    }
}
