//! The packet filter: what must not come in beside the tunnels, and who is told of that (RFC 2521).

use adit_dataplane::need_authentication;
use adit_ike::EndpointConfig;
use adit_mgmt::Diagnosis;
use adit_mgmt::diagnosis::Context;
use adit_sys::SysError;
use adit_sys::filter::{FilterRule, InboundFilter};
use adit_sys::filter_log::FilterLog;
use adit_sys::icmp_sender::IcmpSender;
use adit_sys::wake::{Interest, Poller, Token};
use tracing::{debug, warn};

use super::Parent;
use crate::args::{Args, Switch};
use crate::message::ToControl;

/// The packet filter, without what a predecessor has left.
pub(super) fn open_filter(args: &Args, config: &EndpointConfig) -> Option<InboundFilter> {
    if args.inbound_filter == Switch::Off {
        return None;
    }
    let mut filter = InboundFilter::new(&args.tun, &[config.ike_port, config.nat_port])
        .with_tcp(&args.listen_tcp.0);
    match filter.clear() {
        // Whether it is needed shows when there are rules.
        Ok(()) | Err(SysError::ProgramMissing { .. }) => {}
        Err(error) => warn!(%error, "the packet filter of an earlier daemon may still be there"),
    }
    Some(filter)
}

/// Tells those who send in clear what is to be protected, where a tunnel wants that; in clear, for they have
/// shown that they know nothing else. The filter says of few of them.
pub(super) struct InClear(Option<(FilterLog, IcmpSender)>);

impl InClear {
    /// Where the kernel has no such log nobody is told.
    pub(super) fn open() -> Self {
        let open = || Ok::<_, SysError>((FilterLog::open()?, IcmpSender::open_outside()?));
        Self(open().map_err(|error| debug!(%error, "nobody is told of what comes in clear")).ok())
    }

    /// Has the poller wake whoever is to call [`Self::tell`].
    pub(super) fn join(&self, poller: &Poller, token: Token) -> std::io::Result<()> {
        self.0.iter().try_for_each(|(log, _)| poller.add(log, token, Interest::Readable))
    }

    /// Answers what was dropped since the last call.
    pub(super) fn tell(&mut self) {
        let Some((log, icmp)) = &mut self.0 else { return };
        log.poll(|dropped| {
            let Some(answer) = need_authentication(dropped) else { return };
            if let Err(error) = icmp.send(answer.data()) {
                debug!(%error, "a sender was not told that its packet came in clear");
            }
        });
    }
}

impl Parent {
    /// E508: without a filter what belongs into a tunnel may come in beside it.
    pub(super) fn set_filter(&mut self, rules: &[FilterRule]) {
        let Some(filter) = &mut self.filter else { return };
        let set = filter.set(rules);
        self.tell_unfiltered(set.err());
    }

    pub(super) fn tell_unfiltered(&mut self, error: Option<SysError>) {
        let Some(error) = error else {
            self.told.unfiltered = None;
            return;
        };
        let text = error.to_string();
        if self.told.unfiltered.as_ref() != Some(&text) {
            let problem = Diagnosis::not_filtered(&Context::default(), &text, error.hint());
            warn!("{}", problem.one_line());
            let _ = self.links.control.send(ToControl::Problem(Box::new(problem)));
            self.told.unfiltered = Some(text);
        }
    }
}
