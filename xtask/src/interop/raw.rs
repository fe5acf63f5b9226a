//! What `swanctl --list-sas --raw` prints: VICI messages as text.

use anyhow::Context as _;

/// An IKE SA as its daemon tells it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct IkeSa {
    /// `ESTABLISHED` and so on.
    pub(crate) state: String,
    /// SPI of the initiator, then of the responder, in hexadecimal.
    pub(crate) spis: String,
    /// Its child SAs.
    pub(crate) children: Vec<ChildSa>,
}

/// A child SA as its daemon tells it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ChildSa {
    /// `INSTALLED` and so on.
    pub(crate) state: String,
    /// Inbound, then outbound SPI, in hexadecimal.
    pub(crate) spis: String,
}

/// A section: keys with their values, which may be sections again.
#[derive(Debug, Default, Eq, PartialEq)]
struct Section {
    values: Vec<(String, String)>,
    sections: Vec<(String, Self)>,
}

/// Reads all `list-sa event {…}` lines.
pub(crate) fn ike_sas(text: &str) -> anyhow::Result<Vec<IkeSa>> {
    let mut sas = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("list-sa event ") else {
            continue;
        };
        let (event, _) = section(rest).with_context(|| format!("cannot read `{line}`"))?;
        sas.extend(event.sections.iter().map(|(_, sa)| ike_sa(sa)));
    }
    Ok(sas)
}

fn ike_sa(section: &Section) -> IkeSa {
    let children = section.sections.iter().find(|(name, _)| name == "child-sas");
    let children = children.map(|(_, all)| all.sections.as_slice()).unwrap_or_default();
    IkeSa {
        state: section.value("state"),
        spis: format!("{} {}", section.value("initiator-spi"), section.value("responder-spi")),
        children: children.iter().map(|(_, child)| child_sa(child)).collect(),
    }
}

fn child_sa(section: &Section) -> ChildSa {
    ChildSa {
        state: section.value("state"),
        spis: format!("{} {}", section.value("spi-in"), section.value("spi-out")),
    }
}

impl Section {
    fn value(&self, key: &str) -> String {
        let found = self.values.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

/// Reads `{key=value key=[a b] name {…}}` and returns what stands behind it.
fn section(text: &str) -> Option<(Section, &str)> {
    let mut rest = text.strip_prefix('{')?;
    let mut found = Section::default();
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((found, behind));
        }
        let end = rest.find(['=', '{', '}'])?;
        let (name, behind) = rest.split_at(end);
        if behind.starts_with('{') {
            let (inner, behind) = section(behind)?;
            found.sections.push((name.trim().to_owned(), inner));
            rest = behind;
            continue;
        }
        let behind = behind.strip_prefix('=')?;
        // A list has blanks between its brackets, a value ends at the first blank or brace.
        let end = match behind.strip_prefix('[') {
            Some(list) => list.find(']')? + 2,
            None => behind.find([' ', '}'])?,
        };
        let (value, behind) = behind.split_at(end);
        found.values.push((name.trim().to_owned(), value.to_owned()));
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's swanctl 5.9.8 prints it, shortened.
    const ONE: &str = "list-sa event {site {uniqueid=1 version=2 state=ESTABLISHED \
        local-host=192.0.2.1 initiator=yes initiator-spi=22d36b2c9c4e1f2d \
        responder-spi=0a2f0b5c7a0f3d11 encr-alg=AES_GCM_16 encr-keysize=256 \
        child-sas {net-1 {name=net uniqueid=1 reqid=1 state=INSTALLED mode=TUNNEL protocol=ESP \
        encap=yes spi-in=c3b1f2e0 spi-out=cd3a0a11 local-ts=[10.1.0.0/24 fd01::/64] \
        remote-ts=[10.2.0.0/24]}}}}\nlist-sas reply {}\n";

    #[test]
    fn an_sa_has_its_children() {
        let child = ChildSa { state: "INSTALLED".into(), spis: "c3b1f2e0 cd3a0a11".into() };
        let sa = IkeSa {
            state: "ESTABLISHED".into(),
            spis: "22d36b2c9c4e1f2d 0a2f0b5c7a0f3d11".into(),
            children: vec![child],
        };
        assert_eq!(ike_sas(ONE).unwrap(), [sa]);
    }

    #[test]
    fn no_sa_is_an_empty_list() {
        assert_eq!(ike_sas("list-sas reply {}\n").unwrap(), []);
        assert_eq!(ike_sas("").unwrap(), []);
    }

    #[test]
    fn a_torn_line_is_an_error() {
        for end in 20..ONE.find('\n').unwrap() {
            assert!(ike_sas(&ONE[..end]).is_err(), "{end}");
        }
    }
}
