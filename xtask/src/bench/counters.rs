//! What our packet engine has counted: `adit status --engine --json`.

use serde::Serialize;
use serde_json::Value;

/// Packets, and the system calls that moved them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Moved {
    /// Packets that left the engine, in either direction.
    pub(crate) packets: u64,
    /// System calls that read, wrote, waited and looked.
    pub(crate) calls: u64,
}

impl Moved {
    /// The sum of all directions and threads. Wherever `packets` stands, the calls for them are
    /// beside it, each kind under a name of its own.
    pub(crate) fn read(report: &Value) -> Self {
        let inner = |values: &mut dyn Iterator<Item = &Value>| {
            values.map(Self::read).fold(Self::default(), Self::and)
        };
        match report {
            Value::Array(values) => inner(&mut values.iter()),
            Value::Object(fields) => {
                let mut sum = inner(&mut fields.values());
                if let Some(packets) = fields.get("packets").and_then(Value::as_u64) {
                    let calls = fields.iter().filter(|(name, _)| name.starts_with("calls_"));
                    sum.packets += packets;
                    sum.calls += calls.filter_map(|(_, count)| count.as_u64()).sum::<u64>();
                }
                sum
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Self::default(),
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, calls: self.calls + other.calls }
    }

    /// What was counted after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            calls: self.calls.saturating_sub(before.calls),
        }
    }

    /// Calls for each packet, if any were moved.
    pub(crate) fn calls_per_packet(self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let ratio = self.calls as f64 / self.packets as f64;
        (self.packets > 0).then_some(ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_and_threads_are_added_up() {
        let text = r#"{
            "schema": 1,
            "outbound": {"packets": 100, "calls_read": 3, "calls_wait": 2, "spins": 9},
            "inbound": [
                {"packets": 50, "calls_read": 4, "paths": [{"name": "UDP GRO", "on": true}]},
                {"packets": 50, "calls_write": 1}
            ]
        }"#;
        let moved = Moved::read(&serde_json::from_str(text).unwrap());
        assert_eq!(moved, Moved { packets: 200, calls: 10 });
        assert_eq!(moved.calls_per_packet(), Some(0.05));
        assert_eq!(moved.since(moved).calls_per_packet(), None);
    }
}
