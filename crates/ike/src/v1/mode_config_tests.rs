//! Attributes of Mode-Config there and back, and what peers get wrong.

use super::*;

fn settings() -> ClientSettings {
    ClientSettings {
        addresses: vec!["10.9.0.7".parse().unwrap(), "fd09::7".parse().unwrap()],
        netmask: Some(Ipv4Addr::new(255, 255, 255, 255)),
        dns: vec!["10.1.0.53".parse().unwrap(), "fd01::53".parse().unwrap()],
        nbns: vec![Ipv4Addr::new(10, 1, 0, 42)],
        expiry_s: Some(86_400),
        domain: Some("oslo.example".to_owned()),
        split_dns: vec!["oslo.example".to_owned(), "berlin.example".to_owned()],
        split: vec!["10.1.0.0/16".parse().unwrap(), "fd01::/48".parse().unwrap()],
        exclude: vec!["192.168.0.0/24".parse().unwrap()],
        banner: Some("Only for members".to_owned()),
        save_password: true,
        pfs_group: Some(14),
        version: Some("Adit".to_owned()),
    }
}

/// CHECKLIST W03, W06: what a server says a client reads, asked for or not.
#[test]
fn settings_arrive_as_they_were_sent() {
    let asked = request(&[]);
    assert_eq!(asked_addresses(&asked), [(false, None), (true, None)]);
    assert_eq!(read(&reply(&asked, &settings())), settings());
    let pushed = set(&settings());
    assert_eq!(read(&pushed), ClientSettings { version: None, ..settings() });
    let taken = acknowledgement(&pushed);
    assert_eq!(taken.iter().count(), pushed.iter().count());
    assert!(taken.iter().all(|one| one.value == AttributeValue::Variable(&[])));
}

/// CHECKLIST W05: a client may say which address it has had.
#[test]
fn a_client_names_the_address_that_it_has_had() {
    let before: Vec<IpAddr> = vec!["10.9.0.7".parse().unwrap()];
    assert_eq!(asked_addresses(&request(&before)), [(false, Some(before[0])), (true, None)]);
    let zero = AttributeList::new().variable(1, &[0; 4]).variable(1, &[10, 9, 0, 9]).finish();
    assert_eq!(asked_addresses(&zero), [(false, None)]);
}

/// CHECKLIST W06: nothing is said that was not asked for or is not there.
#[test]
fn a_reply_has_what_was_asked_for() {
    let asked = AttributeList::new().variable(1, &[]).variable(28_676, &[]).variable(28_680, &[]);
    let told = reply(&asked.finish(), &settings());
    let classes: Vec<u16> = told.iter().map(|one| one.class).collect();
    assert_eq!(classes, [1, 28_676]);
    let asked = AttributeList::new().variable(1, &[]).variable(2, &[]).variable(3, &[]).finish();
    assert_eq!(reply(&asked, &ClientSettings::default()).iter().count(), 0);
    let all = AttributeList::new().variable(14, &[]).finish();
    let told = reply(&all, &settings());
    let known: Vec<_> = told.iter().map(|one| variable(one.value).len()).collect();
    assert_eq!(known, [SUPPORTED.len() * 2]);
}

/// CHECKLIST W06: attributes that are unknown, cut short or hostile are left out.
#[test]
fn what_has_no_form_is_left_out() {
    let list = AttributeList::new()
        .variable(1, &[10, 9, 0])
        .variable(1, &[255; 4])
        .variable(1, &[10, 9, 0, 8])
        .variable(1, &[10, 9, 0, 9])
        .basic(3, 7)
        .variable(13, &[10, 1, 0, 0, 255, 0, 255, 0])
        .variable(15, &[1; 16])
        .variable(8, &[0xfd; 17])
        .variable(28_672, b"\x1b[2Jhello\nthere\0")
        .variable(28_676, &[0; 20])
        .variable(28_678, &[10, 3, 0, 0, 255, 255, 0, 0])
        .variable(28_680, &[1, 2, 3])
        .variable(30_000, &[1]);
    let read = read(&list.finish());
    let addresses: Vec<String> = read.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses[0], "10.9.0.8");
    assert_eq!(addresses.len(), 2);
    assert!(read.dns.is_empty());
    assert_eq!(read.banner.as_deref(), Some("\u{fffd}[2Jhello there"));
    assert_eq!(read.split, ["0.0.0.0/0".parse().unwrap()]);
    assert_eq!(read.exclude, ["10.3.0.0/16".parse().unwrap()]);
    let many = (0..=u8::MAX).fold(AttributeList::new(), |list, n| list.variable(3, &[10, 0, 0, n]));
    assert_eq!(super::read(&many.finish()).dns.len(), VALUES_MAX);
}
