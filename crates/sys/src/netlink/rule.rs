//! Policy rules: which table decides about which packet (rtnetlink RTM_*RULE).

use netlink_packet_route::rule::{
    RuleAction as WireAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange,
};
use netlink_packet_route::{IpProtocol, RouteNetlinkMessage};

use super::{Family, Netlink};
use crate::error::SysError;

/// What a rule does with a packet that matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RuleAction {
    /// Looks it up in a table.
    Table(u32),
    /// Drops it silently.
    Blackhole,
    /// Refuses it with "network unreachable".
    Unreachable,
    /// Refuses it with "administratively prohibited".
    Prohibit,
    /// Anything else, by number.
    Other(u8),
}

/// One rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Rules are asked in this order, lowest first.
    pub priority: u32,
    /// Firewall mark (all 32 bits) of the packet.
    pub mark: Option<u32>,
    /// Matches the packets that the other fields do not match.
    pub invert: bool,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// Source port of UDP or TCP.
    pub source_port: Option<u16>,
    /// Destination port of UDP or TCP.
    pub destination_port: Option<u16>,
    /// What it does.
    pub action: RuleAction,
}

impl Rule {
    /// A rule for every packet.
    #[must_use]
    pub fn new(family: Family, priority: u32, action: RuleAction) -> Self {
        Self {
            family,
            priority,
            mark: None,
            invert: false,
            protocol: None,
            source_port: None,
            destination_port: None,
            action,
        }
    }

    /// `not fwmark MARK lookup TABLE`.
    #[must_use]
    pub fn not_marked(family: Family, priority: u32, mark: u32, table: u32) -> Self {
        let rule = Self::new(family, priority, RuleAction::Table(table));
        Self { mark: Some(mark), invert: true, ..rule }
    }

    /// `ipproto udp dport PORT blackhole`: packets to that port vanish on their way through or
    /// out of this host.
    #[must_use]
    pub fn drop_udp_to(family: Family, priority: u32, port: u16) -> Self {
        let rule = Self::new(family, priority, RuleAction::Blackhole);
        Self { protocol: Some(UDP), destination_port: Some(port), ..rule }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.family.netlink();
        message.header.action = match self.action {
            RuleAction::Table(_) => WireAction::ToTable,
            RuleAction::Blackhole => WireAction::Blackhole,
            RuleAction::Unreachable => WireAction::Unreachable,
            RuleAction::Prohibit => WireAction::Prohibit,
            RuleAction::Other(number) => WireAction::Other(number),
        };
        if self.invert {
            message.header.flags = RuleFlags::Invert;
        }
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Priority(self.priority));
        if let Some(mark) = self.mark {
            attributes.push(RuleAttribute::FwMark(mark));
            attributes.push(RuleAttribute::FwMask(u32::MAX));
        }
        if let RuleAction::Table(table) = self.action {
            attributes.push(RuleAttribute::Table(table));
        }
        let range = |port| RulePortRange { start: port, end: port };
        attributes.extend(self.protocol.map(|p| RuleAttribute::IpProtocol(IpProtocol::from(p))));
        attributes.extend(self.source_port.map(|p| RuleAttribute::SourcePortRange(range(p))));
        attributes
            .extend(self.destination_port.map(|p| RuleAttribute::DestinationPortRange(range(p))));
        message
    }
}

impl Netlink {
    /// Adds a rule; the very same one present already is no error.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::FamilyUnsupported`], [`SysError::Io`].
    pub fn add_rule(&mut self, rule: &Rule) -> Result<(), SysError> {
        let request = RouteNetlinkMessage::NewRule(rule.message());
        self.ensure_present(request).map_err(|error| SysError::of("add rule", error))
    }

    /// Removes a rule; one that is gone is no error.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::FamilyUnsupported`], [`SysError::Io`].
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<(), SysError> {
        let request = RouteNetlinkMessage::DelRule(rule.message());
        self.ensure_absent(request).map_err(|error| SysError::of("remove rule", error))
    }

    /// The rules of a family in their order. Rules with conditions this type does not know appear
    /// without them.
    ///
    /// # Errors
    ///
    /// [`SysError::FamilyUnsupported`], [`SysError::Io`].
    pub fn rules(&mut self, family: Family) -> Result<Vec<Rule>, SysError> {
        let mut request = RuleMessage::default();
        request.header.family = family.netlink();
        let found = self
            .dump(&RouteNetlinkMessage::GetRule(request))
            .map_err(|error| SysError::of("list rules", error))?;
        let mut rules: Vec<Rule> = found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewRule(message) => Some(read(family, message)),
                _ => None,
            })
            .collect();
        rules.sort_by_key(|rule| rule.priority);
        Ok(rules)
    }
}

fn read(family: Family, message: &RuleMessage) -> Rule {
    let mut table = u32::from(message.header.table);
    let mut rule = Rule::new(family, 0, RuleAction::Other(message.header.action.into()));
    rule.invert = message.header.flags.contains(RuleFlags::Invert);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::FwMark(mark) => rule.mark = Some(*mark),
            RuleAttribute::Table(found) => table = *found,
            RuleAttribute::IpProtocol(protocol) => rule.protocol = Some(u8::from(*protocol)),
            RuleAttribute::SourcePortRange(range) => rule.source_port = Some(range.start),
            RuleAttribute::DestinationPortRange(range) => rule.destination_port = Some(range.start),
            _ => {}
        }
    }
    if message.header.action == WireAction::ToTable {
        rule.action = RuleAction::Table(table);
    } else if message.header.action == WireAction::Blackhole {
        rule.action = RuleAction::Blackhole;
    } else if message.header.action == WireAction::Unreachable {
        rule.action = RuleAction::Unreachable;
    } else if message.header.action == WireAction::Prohibit {
        rule.action = RuleAction::Prohibit;
    }
    rule
}

const UDP: u8 = 17;
