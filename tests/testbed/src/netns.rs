//! Named network namespaces, in the private /run of the test.

use std::fs::File;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use crate::tools;

/// A network namespace beside the host's.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new, empty one with `lo` up.
    #[must_use]
    pub fn new(name: &str) -> Self {
        tools::run(&format!("ip netns add {name}"));
        let netns = Netns { name: name.to_owned() };
        netns.run("ip link set lo up");
        netns
    }

    /// Its name for `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs `line` in it.
    #[must_use]
    pub fn command(&self, line: &str) -> Command {
        tools::command(&format!("ip netns exec {} {line}", self.name))
    }

    /// Runs `line` in it, which must succeed, and returns what it printed.
    pub fn run(&self, line: &str) -> String {
        tools::finish(&mut self.command(line))
    }

    /// Runs `body` on a thread inside it. Descriptors that the body opens stay in the namespace wherever they are used.
    ///
    /// # Panics
    /// When the namespace is gone, or the body panics.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the network namespace is there");
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&file, CloneFlags::CLONE_NEWNET).expect("a thread may enter a network namespace");
                    body()
                })
                .join()
                .expect("the body in the namespace does not panic")
        })
    }
}
