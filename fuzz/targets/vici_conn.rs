//! `load-conn` and the other commands with arguments: any tree of sections gives a connection, an
//! error that says where, or a request that is written and read again.

#![no_main]

use adit_fuzz::tree;
use adit_mgmt::vici::pool::Pools;
use adit_mgmt::vici::{Packet, Request, Section, conn, conn_section};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default();
    let section = tree::section(&mut lines);

    match conn::connection(name, &section, &Pools::new()) {
        Ok(connection) => {
            assert_eq!(connection.name.as_str(), name);
            let shown =
                Packet::Response(Section::new().with_section(name, conn_section(&connection)));
            // Texts of the section come back in it, so it is about as long as what came in.
            let octets = shown.encode().expect("as long as the input");
            assert_eq!(Packet::read(&octets[4..]), Ok(shown));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(request) = Request::parse(name, &section) {
        let written = request.message();
        let again = Request::parse(name, &written).expect("a request we wrote");
        assert_eq!(again.message(), written);
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
    }
});
