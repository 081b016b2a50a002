//! The companion that removes the socket's name when softnet ends: after the drop no path leads anywhere, and the relay may remove
//! nothing.
//!
//! It has the name's directory as a descriptor and the rights of whom softnet became, and does one thing: it waits for the end. A
//! softnet that is killed (SIGKILL) takes it along: then the name stays, and the next start there replaces it.

use crate::companion::line::{Line, MAX_MESSAGE};
use crate::companion::{self, Companion, CompanionError, Plan};
use crate::lifeline::{Lifeline, Stop};
use crate::privilege::Identity;
use crate::sandbox::{Leave, Room, calls};
use crate::sys::named::Name;

/// No descriptor of its has this number or a higher one: poll(2) takes no more entries than that.
const DESCRIPTORS: u64 = 64;

/// Starts it. On an error there is none, and the name is still there.
pub(crate) fn start(
    name: &Name,
    identity: Identity,
    lifeline: &mut Lifeline,
) -> Result<Companion, Stop<CompanionError>> {
    let directory = name.directory();
    let left = [Leave::WriteIn(directory)];
    let room = Room { calls: calls::REMOVER, left: &left, descriptors: DESCRIPTORS };
    let work = |line: Line| {
        while line.wait(&mut [0; MAX_MESSAGE]).is_some() {}
        name.remove();
    };
    let plan = Plan { purpose: "--socket", name: c"softnet-socket", kept: &[directory], room, work };
    companion::start(identity, plan, lifeline)
}
