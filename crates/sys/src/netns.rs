//! Network namespaces for the demo and the tests.
//!
//! A [`Namespace`] is a descriptor: it lives as long as somebody holds it, so nothing is left
//! behind when the program is killed.

#![expect(unsafe_code, reason = "a child enters its namespace between fork and exec")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::SysError;
use crate::netlink::Netlink;
use crate::process::bind_to;
use crate::thread::spawn_scoped_named;

/// A network namespace, held by descriptor.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// Makes a new namespace with its loopback interface up.
    ///
    /// Duplicate address detection is off in it, so that IPv6 works from the first millisecond.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] without CAP_SYS_ADMIN; see [`enter_user_namespace`].
    pub fn create() -> Result<Self, SysError> {
        let namespace = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| SysError::of("make network namespace", errno))?;
            Self::current()
        })?;
        let mut netlink = namespace.netlink()?;
        let loopback = netlink.link_by_name("lo")?;
        netlink.set_up(loopback.index, true)?;
        namespace.run(|| {
            for which in ["all", "default"] {
                // Without IPv6 there is nothing to switch off.
                let _ = write_sysctl(&format!("net.ipv6.conf.{which}.accept_dad"), "0");
            }
        })?;
        Ok(namespace)
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] when /proc is missing.
    pub fn current() -> Result<Self, SysError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// A namespace by a path that leads to it, such as /run/netns/NAME or what [`Self::path`] gave.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`], [`SysError::NotPermitted`].
    pub fn open(path: &Path) -> Result<Self, SysError> {
        let file = File::open(path).map_err(|error| SysError::of("open namespace", error))?;
        Ok(Self { fd: file.into() })
    }

    /// A path by which other processes of this user can open or enter the namespace, as long as
    /// this process lives and holds it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()).into()
    }

    /// Another handle to the same namespace.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn try_clone(&self) -> Result<Self, SysError> {
        let fd = self.fd.try_clone().map_err(|error| SysError::of("duplicate namespace", error))?;
        Ok(Self { fd })
    }

    /// Moves the calling thread into the namespace for good.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`], [`SysError::Io`].
    pub fn enter(&self) -> Result<(), SysError> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| SysError::of("enter network namespace", errno))
    }

    /// Runs `f` inside, on a thread of its own, and waits for it.
    ///
    /// Sockets made by `f` stay in the namespace after it has ended; do not start children in `f`
    /// that shall die with their parent (use [`Self::spawn`]).
    ///
    /// # Errors
    ///
    /// Those of [`Self::enter`] and of starting a thread. A panic of `f` goes on in the caller.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, SysError> {
        on_own_thread(|| {
            self.enter()?;
            Ok(f())
        })
    }

    /// A netlink client for the namespace, usable from any thread.
    ///
    /// # Errors
    ///
    /// Those of [`Self::run`] and [`Netlink::open`].
    pub fn netlink(&self) -> Result<Netlink, SysError> {
        self.run(Netlink::open)?
    }

    /// Starts a program inside; it is killed when the calling thread ends.
    ///
    /// # Errors
    ///
    /// What starting the program or entering the namespace answers.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // The descriptor is duplicated into the closure: `Command` may outlive `self`.
        let fd = self.fd.try_clone()?;
        let parent = nix::unistd::getpid();
        let enter = move || {
            setns(&fd, CloneFlags::CLONE_NEWNET)?;
            bind_to(parent)
        };
        // SAFETY: between fork and exec the closure makes three system calls and nothing else: no
        // allocation, no lock.
        unsafe { command.pre_exec(enter) };
        command.spawn()
    }

    /// Turns forwarding of IPv4 and IPv6 packets on.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`], [`SysError::NotPermitted`].
    pub fn enable_forwarding(&self) -> Result<(), SysError> {
        self.run(|| {
            write_sysctl("net.ipv4.ip_forward", "1")?;
            match write_sysctl("net.ipv6.conf.all.forwarding", "1") {
                // A kernel without IPv6 has nothing to forward.
                Err(SysError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    Ok(())
                }
                result => result,
            }
        })?
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Writes a kernel setting such as `net.ipv4.ip_forward` in the namespace of the calling thread.
///
/// A name with slashes is taken as it is, as `sysctl` has it: `net/ipv4/conf/eth0.5/rp_filter`.
///
/// # Errors
///
/// [`SysError::Io`] with `NotFound` for an unknown name, [`SysError::NotPermitted`].
pub fn write_sysctl(name: &str, value: &str) -> Result<(), SysError> {
    std::fs::write(sysctl_path(name), value).map_err(|error| SysError::of("write sysctl", error))
}

/// Reads a kernel setting, without the line end.
///
/// # Errors
///
/// As [`write_sysctl`].
pub fn read_sysctl(name: &str) -> Result<String, SysError> {
    let text = std::fs::read_to_string(sysctl_path(name))
        .map_err(|error| SysError::of("read sysctl", error))?;
    Ok(text.trim_end().to_owned())
}

/// Makes this process root of a new user namespace, so that it may create network namespaces.
///
/// Must be called while the process has one thread. Every user of the host keeps what the files
/// allow; inside, this process holds all capabilities over namespaces it creates from now on.
///
/// # Errors
///
/// [`SysError::NotPermitted`] where the distribution forbids it, [`SysError::Io`] with EINVAL when
/// other threads run.
pub fn enter_user_namespace() -> Result<(), SysError> {
    let uid = nix::unistd::geteuid();
    let gid = nix::unistd::getegid();
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|errno| SysError::of("make user namespace", errno))?;
    let write = |path: &str, text: String| {
        std::fs::write(path, text).map_err(|error| SysError::of("map user namespace", error))
    };
    // The kernel wants group changes forbidden before an unprivileged group map.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Moves this process into the user namespace of another process of the same user, such as one
/// that called [`enter_user_namespace`]; nothing happens if it is the own one.
///
/// Must be called while the process has one thread.
///
/// # Errors
///
/// [`SysError::NotPermitted`], [`SysError::Io`] with ENOENT when there is no such process.
pub fn join_user_namespace_of(pid: u32) -> Result<(), SysError> {
    let theirs = format!("/proc/{pid}/ns/user");
    let name = |path: &str| {
        std::fs::read_link(path).map_err(|error| SysError::of("look at user namespace", error))
    };
    if name(&theirs)? == name("/proc/self/ns/user")? {
        return Ok(());
    }
    let file = File::open(theirs).map_err(|error| SysError::of("open user namespace", error))?;
    setns(file, CloneFlags::CLONE_NEWUSER)
        .map_err(|errno| SysError::of("enter user namespace", errno))
}

/// Whether this process can create network namespaces as it is.
#[must_use]
pub fn can_create() -> bool {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| SysError::of("make network namespace", errno))
    })
    .is_ok()
}

fn sysctl_path(name: &str) -> PathBuf {
    let root = Path::new("/proc/sys");
    if name.contains('/') {
        return root.join(name);
    }
    root.join(name.replace('.', "/"))
}

fn on_own_thread<T: Send>(f: impl FnOnce() -> Result<T, SysError> + Send) -> Result<T, SysError> {
    std::thread::scope(|scope| {
        let thread = spawn_scoped_named(scope, "netns", f)
            .map_err(|error| SysError::of("start thread", error))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
