//! The log: to a file or standard error, and line by line to clients of the control socket.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use adit_sys::clock;
use adit_sys::wake::CommandSender;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::message::ToControl;

/// One line, as clients get it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Time since 1970.
    pub(crate) at: Duration,
    /// How grave.
    pub(crate) level: Level,
    /// Which part of the program.
    pub(crate) target: &'static str,
    /// The thread that wrote it, numbered in the order of their first lines.
    pub(crate) thread: u32,
    /// The tunnel it is about, if it is about one.
    pub(crate) connection: Option<String>,
    /// The text with its fields.
    pub(crate) text: String,
}

/// Starts logging. Lines go to clients from [`Feed::connect`] on.
pub(crate) fn start(file: Option<&Path>, filter: &str) -> anyhow::Result<Feed> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| anyhow::anyhow!("--log-level {filter:?} is no log filter: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter).with(FeedLayer);
    match file {
        None => {
            let colour = std::io::stderr().is_terminal();
            let lines =
                tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(std::io::stderr);
            registry.with(lines).try_init()?;
        }
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|error| {
                anyhow::anyhow!("the log file {} cannot be opened: {error}", path.display())
            })?;
            let lines =
                tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
            registry.with(lines).try_init()?;
        }
    }
    Ok(Feed)
}

/// Connects the log to the control role.
pub(crate) struct Feed;

impl Feed {
    /// Sends every line to the control role from now on.
    pub(crate) fn connect(&self, control: CommandSender<ToControl>) {
        // A second connection cannot happen: there is one control role for the life of the process.
        let _ = CONTROL.set(control);
    }
}

static CONTROL: OnceLock<CommandSender<ToControl>> = OnceLock::new();

static THREADS: AtomicU32 = AtomicU32::new(1);

thread_local! {
    /// This thread's number in the log.
    static THREAD: u32 = THREADS.fetch_add(1, Ordering::Relaxed);
}

struct FeedLayer;

impl<S: Subscriber> Layer<S> for FeedLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(control) = CONTROL.get() else { return };
        let mut text = LineText::default();
        event.record(&mut text);
        let line = Line {
            at: clock::unix_time(),
            level: *event.metadata().level(),
            target: event.metadata().target(),
            thread: THREAD.with(|number| *number),
            connection: text.connection.take(),
            text: text.finish(),
        };
        // A full queue loses the line for clients; the file has it.
        let _ = control.try_send(ToControl::Log(line));
    }
}

/// Collects a message and its fields as `message key=value`.
#[derive(Default)]
struct LineText {
    message: String,
    fields: String,
    connection: Option<String>,
}

impl LineText {
    fn finish(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for LineText {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        match field.name() {
            "message" => {
                let _ = write!(self.message, "{value:?}");
            }
            // Clients get it beside the text.
            "connection" => {
                self.connection = Some(format!("{value:?}").trim_matches('"').to_owned());
            }
            name => {
                let _ = write!(self.fields, " {name}={value:?}");
            }
        }
    }
}
