//! The holder: the process in the background that owns the namespaces and starts the daemons.
//!
//! Everything lives as long as it does: namespaces are descriptors, and the daemons are killed by
//! the kernel when their parent ends, however it ends.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use adit_mgmt::api::SCHEMA;
use adit_sys::SysError;
use adit_sys::netns::{can_create, enter_user_namespace};
use adit_sys::process::new_session;
use adit_sys::unix::ControlListener;
use adit_sys::wake::{Interest, wait_for};

use crate::demo::fault;
use crate::demo::news::{Line, News, Order, Report, Show};
use crate::demo::place::Place;
use crate::demo::show::show;
use crate::demo::stage::Stage;
use crate::error::Error;

/// Runs the holder. Standard input is the connection to the command that started it.
pub(crate) fn run(place: &Place, aditd: &Path) -> Result<(), Error> {
    let stream = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::io("orders"))?;
    let mut first = Line::new(UnixStream::from(stream))?;
    let prepared = new_session().map_err(Error::from).and_then(|()| prepare(place));
    let listener = match prepared {
        Ok(listener) => listener,
        Err(error) => return first.send(&failed(&error)),
    };
    let mut holder =
        Holder { place: place.clone(), aditd: aditd.to_owned(), stage: None, keep: false };
    let mut goes_on = holder.attend(&mut first);
    drop(first);
    while goes_on {
        wait_for(&listener, Interest::Readable, None).map_err(Error::io("orders"))?;
        if let Ok(Some((stream, _))) = listener.accept()
            && let Ok(mut line) = Line::new(stream)
        {
            goes_on = holder.attend(&mut line);
        }
    }
    holder.take_down()
}

/// Makes sure that namespaces can be made, and opens the place for orders.
fn prepare(place: &Place) -> Result<ControlListener, Error> {
    if !can_create() {
        enter_user_namespace().map_err(no_namespaces)?;
        if !can_create() {
            return Err(no_namespaces(SysError::NotPermitted { operation: "make namespaces" }));
        }
    }
    place.prepare()?;
    Ok(ControlListener::bind(&place.orders())?)
}

fn no_namespaces(error: SysError) -> Error {
    Error::Refused(format!(
        "this system does not let ordinary users make namespaces ({error});\n\
         `sudo adit demo` works: everything happens inside namespaces all the same"
    ))
}

struct Holder {
    place: Place,
    aditd: PathBuf,
    stage: Option<Stage>,
    /// Whether the demo outlives the connection that ordered it.
    keep: bool,
}

impl Holder {
    /// Carries out the orders of one connection. `false` if the demo ends with it.
    fn attend(&mut self, line: &mut Line) -> bool {
        while let Ok(Some(order)) = line.receive::<Order>() {
            let result = self.carry_out(&order, line);
            let news = match &result {
                Ok(ok) => News::Done { ok: *ok },
                Err(error) => failed(error),
            };
            let heard = line.send(&news).is_ok();
            // A show that fails or that nobody sees any more leaves nothing behind.
            let unseen = matches!(order, Order::Show(_)) && (result.is_err() || !heard);
            if unseen || matches!(order, Order::Stop) {
                return false;
            }
            if !heard {
                break;
            }
        }
        self.keep
    }

    fn carry_out(&mut self, order: &Order, line: &mut Line) -> Result<bool, Error> {
        match (order, &mut self.stage) {
            (Order::Show(order), None) => self.show(order, line),
            (Order::Show(_), Some(_)) => Err(Error::Refused("it is shown already".into())),
            (Order::Break { fault }, Some(stage)) => fault::break_it(stage, *fault, line),
            (Order::Fix, Some(stage)) => fault::fix(stage, line),
            (Order::Break { .. } | Order::Fix, None) => {
                Err(Error::Refused("the demo has not been built yet".into()))
            }
            (Order::Stop, _) => self.take_down().map(|()| true),
        }
    }

    fn show(&mut self, order: &Show, line: &mut Line) -> Result<bool, Error> {
        line.fact(
            "building",
            "oslo-host - oslo-gw = internet = berlin-gw - berlin-host\n\
             five network namespaces; nothing outside of them is touched",
        )?;
        self.keep = order.keep;
        let stage = self.stage.insert(Stage::build(&self.place, &self.aditd, order)?);
        let mut report = Report { schema: SCHEMA, ..Report::default() };
        let shown = show(stage, order, &mut report, line);
        if let Err(error) = &shown {
            report.error = Some(error.to_string());
        }
        let ok = report.ok;
        line.send(&News::Report(Box::new(report)))?;
        shown.map(|()| ok)
    }

    fn take_down(&mut self) -> Result<(), Error> {
        match self.stage.take() {
            Some(stage) => stage.take_down(),
            None => self.place.remove(),
        }
    }
}

fn failed(error: &Error) -> News {
    let diagnosis = error.diagnosis().cloned().map(Box::new);
    News::Failed { text: error.to_string(), diagnosis }
}
