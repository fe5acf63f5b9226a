//! What is said between the command and the holder of the demo: one JSON value in each line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use adit_mgmt::Diagnosis;
use adit_mgmt::api::Progress;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::args::{DemoIke, Fault};
use crate::demo::place::Site;
use crate::error::Error;

/// To the holder.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Build everything and show it.
    Show(Show),
    /// Break something.
    Break {
        /// What.
        fault: Fault,
    },
    /// Undo every break.
    Fix,
    /// Take everything down and end.
    Stop,
}

/// How to show the demo.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Show {
    /// Octets of the TCP transfer.
    pub(crate) bytes: u64,
    /// Where to keep the capture.
    pub(crate) capture: Option<PathBuf>,
    /// Where to keep the session keys.
    pub(crate) keys: Option<PathBuf>,
    /// How the gateways negotiate, if not by IKEv2.
    pub(crate) ike: Option<DemoIke>,
    /// Whether the demo goes on when this connection ends.
    pub(crate) keep: bool,
}

/// From the holder.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub(crate) enum News {
    /// Something was done or seen.
    Fact {
        /// A word.
        label: String,
        /// What.
        text: String,
        /// How to take it.
        mood: Mood,
    },
    /// A step of a handshake.
    Step(Progress),
    /// Octets as they crossed the wire.
    Octets {
        /// A word.
        label: String,
        /// What they are.
        text: String,
        /// Themselves.
        octets: Vec<u8>,
        /// How many of them are readable text of the conversation.
        readable: usize,
    },
    /// Part of a long work is done.
    Amount {
        /// Octets done.
        done: u64,
        /// Octets in all.
        total: u64,
    },
    /// The long work goes on elsewhere: nothing will be said for about so many seconds.
    Patience {
        /// Why.
        text: String,
        /// Seconds, at most.
        seconds: u64,
    },
    /// What a daemon says about a problem.
    Diagnosis {
        /// Whose daemon.
        site: Site,
        /// What it says.
        diagnosis: Box<Diagnosis>,
    },
    /// What the whole demo came to.
    Report(Box<Report>),
    /// The order is carried out.
    Done {
        /// Whether everything went as it should.
        ok: bool,
    },
    /// The order cannot be carried out.
    Failed {
        /// Why.
        text: String,
        /// What is known, if it has a code.
        diagnosis: Option<Box<Diagnosis>>,
    },
}

/// How to take a fact.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mood {
    /// As it is.
    Plain,
    /// Good.
    Good,
    /// Bad.
    Bad,
}

/// What `adit demo --json` prints.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Number of this shape.
    pub(crate) schema: u32,
    /// Time from Oslo's daemon being told of the tunnel to the tunnel being up; nothing if it did
    /// not come up.
    pub(crate) established_ms: Option<f64>,
    /// Whether every ping through the tunnel was answered.
    pub(crate) ping_ok: bool,
    /// Their mean round trip.
    pub(crate) ping_ms: Option<f64>,
    /// Rate of the TCP transfer.
    pub(crate) tcp_mbit_s: Option<f64>,
    /// Octets that arrived.
    pub(crate) tcp_bytes: u64,
    /// Whether every octet arrived as it was sent.
    pub(crate) checksum_ok: bool,
    /// Octets of packets between the two sites that crossed the wire unprotected while the tunnel
    /// was up.
    pub(crate) clear_bytes_seen_on_wire: u64,
    /// ESP packets on the wire.
    pub(crate) esp_packets: u64,
    /// Frames that the capture lost, so that the two counts above would be too small.
    pub(crate) capture_lost: u64,
    /// The suite of the IKE SA, in the words of the configuration.
    pub(crate) ike_suite: Option<String>,
    /// The suite of the traffic.
    pub(crate) esp_suite: Option<String>,
    /// What kept the tunnel from coming up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<Box<Diagnosis>>,
    /// Why the demo ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Whether everything went as it should.
    pub(crate) ok: bool,
}

/// A connection on which JSON lines travel.
#[derive(Debug)]
pub(crate) struct Line {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Line {
    /// Over a connected stream.
    pub(crate) fn new(stream: UnixStream) -> Result<Self, Error> {
        let writer = stream.try_clone().map_err(Error::io("orders"))?;
        Ok(Self { reader: BufReader::new(stream), writer })
    }

    /// Sends a value; [`Error::Closed`] if the other side is gone.
    pub(crate) fn send(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_vec(value)
            .map_err(|error| Error::Refused(format!("cannot write JSON: {error}")))?;
        text.push(b'\n');
        self.writer.write_all(&text).map_err(|_| Error::Closed)
    }

    /// The next value; `None` when the other side is gone.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let mut text = String::new();
        // A reset connection is as good as a closed one.
        if self.reader.read_line(&mut text).unwrap_or(0) == 0 {
            return Ok(None);
        }
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Error::Refused(format!("the demo speaks another version: {error}")))
    }

    /// A fact without judgement.
    pub(crate) fn fact(&mut self, label: &str, text: impl Into<String>) -> Result<(), Error> {
        self.tell(label, text, Mood::Plain)
    }

    /// A fact.
    pub(crate) fn tell(
        &mut self,
        label: &str,
        text: impl Into<String>,
        mood: Mood,
    ) -> Result<(), Error> {
        self.send(&News::Fact { label: label.to_owned(), text: text.into(), mood })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_news_travel_as_lines() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut left, mut right) = (Line::new(left).unwrap(), Line::new(right).unwrap());
        left.send(&Order::Break { fault: Fault::Psk }).unwrap();
        left.fact("ping", "one\ntwo").unwrap();
        drop(left);
        let order: Option<Order> = right.receive().unwrap();
        assert!(matches!(order, Some(Order::Break { fault: Fault::Psk })));
        let news: Option<News> = right.receive().unwrap();
        assert!(matches!(news, Some(News::Fact { text, .. }) if text == "one\ntwo"));
        assert!(right.receive::<News>().unwrap().is_none());
    }

    #[test]
    fn the_report_keeps_its_shape() {
        let report = Report { schema: 1, established_ms: Some(12.5), ..Report::default() };
        insta::assert_snapshot!(serde_json::to_string(&report).unwrap(), @r#"{"schema":1,"established_ms":12.5,"ping_ok":false,"ping_ms":null,"tcp_mbit_s":null,"tcp_bytes":0,"checksum_ok":false,"clear_bytes_seen_on_wire":0,"esp_packets":0,"capture_lost":0,"ike_suite":null,"esp_suite":null,"ok":false}"#);
    }
}
