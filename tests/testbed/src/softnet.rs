//! The real softnet, started as Tart starts it: the frame socket is its standard input.

#[cfg(target_os = "linux")]
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::binary;
use crate::wait::{self, PATIENCE, Timeout};
use crate::wire::Mac;
use crate::{sys, tools};

/// Who starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Real root, as under sudo.
    Root,
    /// A user without any right; the program must be a setuid copy.
    User,
}

/// How to start softnet.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    caller: Caller,
    mac: Mac,
    options: Vec<String>,
}

impl Launch {
    /// `program` for the guest `mac`, as root.
    #[must_use]
    pub fn new(program: &Path, mac: Mac) -> Self {
        Launch { program: program.to_owned(), caller: Caller::Root, mac, options: Vec::new() }
    }

    /// Started by `caller`.
    #[must_use]
    pub fn by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// The same for another guest.
    #[must_use]
    pub fn for_guest(mut self, mac: Mac) -> Self {
        self.mac = mac;
        self
    }

    /// With more options, split at blanks; what is between single quotes is one piece, blanks and all.
    #[must_use]
    pub fn with(mut self, options: &str) -> Self {
        for (index, part) in options.split('\'').enumerate() {
            if index % 2 == 0 {
                self.options.extend(part.split_ascii_whitespace().map(str::to_owned));
            } else {
                self.options.push(part.to_owned());
            }
        }
        self
    }

    /// Starts it, without waiting for anything, and returns the guest's end of its frame socket.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(&self) -> (Softnet, UnixDatagram) {
        let (guest, other) = sys::frame_sockets();
        (self.spawn_on(OwnedFd::from(other).into()), guest)
    }

    /// Starts it with `input` as its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn_on(&self, input: Stdio) -> Softnet {
        let mut command = command(&self.program, self.caller);
        command.args(["--vm-fd", "0", "--vm-mac-address", &self.mac.to_string()]).args(&self.options);
        Softnet::spawn(command.stdin(input))
    }

    /// Starts it with a control channel as its standard output, as Tart does, and waits until it is ready for the guest.
    /// Returns the guest's end of its frame socket and the client's of the channel.
    ///
    /// # Panics
    /// When it does not get there; its own words are printed.
    #[must_use]
    pub fn start_with_channel(&self) -> (Softnet, UnixDatagram, UnixStream) {
        let (guest, other) = sys::frame_sockets();
        let (client, output) = UnixStream::pair().expect("a socket pair");
        let mut command = command(&self.program, self.caller);
        command.args(["--vm-fd", "0", "--vm-mac-address", &self.mac.to_string(), "--control-fd", "1"]);
        command.args(&self.options).stdin(OwnedFd::from(other));
        let mut softnet = Softnet::spawn_printing_to(&mut command, OwnedFd::from(output).into());
        softnet.wait_ready();
        (softnet, guest, client)
    }

    /// Starts it and waits until it is ready for the guest.
    ///
    /// # Panics
    /// When it does not get there; its own words are printed.
    #[must_use]
    pub fn start(&self) -> (Softnet, UnixDatagram) {
        let (mut softnet, guest) = self.spawn();
        softnet.wait_ready();
        (softnet, guest)
    }
}

/// A command that runs `program` as `caller`, with a log that says when it is ready.
#[must_use]
pub fn command(program: &Path, caller: Caller) -> Command {
    let mut command = match caller {
        Caller::Root => Command::new(program),
        Caller::User => as_plain_user(program),
    };
    command.env("RUST_LOG", "softnet=info").stdin(Stdio::null());
    command
}

/// A command that runs `program` as a user without any right.
#[cfg(target_os = "linux")]
fn as_plain_user(program: &Path) -> Command {
    let (uid, gid) = binary::caller();
    let mut command = Command::new(tools::find("setpriv").expect("setpriv is installed"));
    command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]).arg(program);
    command
}

/// A command that runs `program` as a user without any right: root becomes one, whoever else runs the tests is one. sudo may
/// be allowed to the latter; a PATH without it takes that away.
#[cfg(target_os = "macos")]
fn as_plain_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    if nix::unistd::geteuid().is_root() {
        let (uid, gid) = binary::caller();
        sys::become_user(&mut command, uid, gid);
    }
    command.env("PATH", "/nonexistent");
    command
}

/// A running softnet. It is killed when this is dropped.
#[derive(Debug)]
pub struct Softnet {
    child: Child,
    said: Arc<Mutex<String>>,
    printed: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

/// How softnet ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// How long it took from when the wait began.
    pub after: Duration,
    /// What it had said on standard error.
    pub said: String,
    /// What it had printed on standard output.
    pub printed: Vec<u8>,
}

impl Ended {
    /// Holds it to it that each of `words` was told.
    ///
    /// # Panics
    /// When one was not.
    #[track_caller]
    pub fn assert_told(&self, words: &[&str]) {
        for word in words {
            assert!(self.said.contains(word), "{word:?} is to be told: {}", self.said);
        }
    }

    /// How many frames of the guest's it had dropped for `reason`, as its last words say.
    #[must_use]
    pub fn dropped(&self, reason: &str) -> u64 {
        self.drops().find(|(name, _)| *name == reason).map_or(0, |(_, count)| count)
    }

    /// How many frames of the guest's it had dropped for every reason.
    pub fn drops(&self) -> impl Iterator<Item = (&str, u64)> {
        let lines = self.said.lines().filter(|line| line.contains("from the guest: "));
        let lists = lines.filter_map(|line| line.split_once("dropped: [")?.1.strip_suffix(']'));
        lists.flat_map(|list| list.split(", ")).filter_map(|drop| {
            let (name, count) = drop.split_once(' ')?;
            Some((name, count.parse().ok()?))
        })
    }
}

impl Softnet {
    /// Starts `command`, taking both outputs.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_printing_to(command, Stdio::piped())
    }

    /// Starts `command` with `output` as its standard output, taking standard error.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn_printing_to(command: &mut Command, output: Stdio) -> Self {
        let mut child = command
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let (said, printed) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(Vec::new())));
        let stderr = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
        let stdout = child.stdout.take();
        let (lines, bytes) = (Arc::clone(&said), Arc::clone(&printed));
        let readers = vec![
            std::thread::spawn(move || {
                for line in stderr.lines().map_while(Result::ok) {
                    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                    lines.push_str(&line);
                    lines.push('\n');
                }
            }),
            std::thread::spawn(move || {
                let mut buffer = Vec::new();
                let _ = stdout.map(|mut stdout| stdout.read_to_end(&mut buffer));
                *bytes.lock().unwrap_or_else(PoisonError::into_inner) = buffer;
            }),
        ];
        Softnet { child, said, printed, readers }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it ends before, or does not say so in time.
    pub fn wait_ready(&mut self) {
        if let Err(error) = self.wait_said("ready") {
            panic!("softnet does not get ready: {error}\n{}", self.said());
        }
    }

    /// Waits for a whole `word` on standard error.
    ///
    /// # Errors
    /// It ended without, or did not say it in time.
    ///
    /// # Panics
    /// When the process cannot be asked.
    pub fn wait_said(&mut self, word: &str) -> Result<(), Timeout> {
        let what = format!("the word {word:?} of softnet's");
        wait::until(&what, PATIENCE, || {
            let ended = self.child.try_wait().expect("a child can be asked").is_some();
            match self.has_said(word) {
                true => Some(Ok(())),
                // What it said last may still be on its way through the pipe, but not for long.
                false if ended => {
                    Some(wait::until(&what, Duration::from_millis(300), || self.has_said(word).then_some(())))
                }
                false => None,
            }
        })?
    }

    fn has_said(&self, word: &str) -> bool {
        self.said().split(|letter: char| !letter.is_alphanumeric()).any(|said| said == word)
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the process cannot be asked.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Sends `signal` to it.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    #[must_use]
    pub fn wait_end(mut self, limit: Duration) -> Ended {
        let start = Instant::now();
        let ended = wait::until("the end of softnet", limit, || self.child.try_wait().expect("a child can be asked"));
        let status = ended.unwrap_or_else(|error| panic!("{error}"));
        let after = start.elapsed();
        for reader in self.readers.drain(..) {
            // A daemon that softnet left behind must not hold its outputs: this would then never return.
            wait::until("the end of softnet's outputs", Duration::from_secs(2), || reader.is_finished().then_some(()))
                .unwrap_or_else(|error| panic!("{error}: something that softnet started holds them open"));
        }
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ended { status, after, said: self.said(), printed }
    }

    /// Asks it to end as Tart does, and checks that it does so in order.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop(self) -> Ended {
        self.signal(Signal::SIGINT);
        let ended = self.wait_end(PATIENCE);
        assert!(ended.status.success(), "softnet ended with {}: {}", ended.status, ended.said);
        ended
    }

    /// Its real, effective and saved user, and its real and saved group.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        let mut ps = tools::command("ps -o ruid= -o uid= -o svuid= -o rgid= -o svgid= -p");
        let printed = tools::finish(ps.arg(self.pid().to_string()));
        // Nobody's number may be printed as a negative one.
        printed.split_whitespace().map(|id| id.parse::<i64>().expect("ps prints numbers") as u32).collect()
    }

    /// A line of its `/proc/PID/status`, without the name.
    ///
    /// # Panics
    /// When there is none.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn status(&self, field: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("softnet runs");
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in /proc/PID/status"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl Drop for Softnet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what softnet (process {}) said:\n{}---", self.child.id(), self.said());
        }
    }
}
