//! A whole virtual machine under QEMU, without any acceleration: a Debian kernel and busybox, made by `scripts/vm-image.sh`.
//!
//! Inside, `scripts/vm-init.sh` uses the network well and badly, and tells each outcome on the serial console.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::testbed::Facts;
use crate::wait;
use crate::wire::Mac;
use crate::{isolate, tools};

/// How long the VM may take for all of it, boot included, on a busy machine without virtualization.
pub const LIMIT: Duration = Duration::from_secs(150);

/// Builds the VM's kernel and initramfs in `root`'s target directory, or finds them there. Needs the network of the machine, and
/// so is to be called outside of [`isolate`].
///
/// # Panics
/// When the script fails; it says why.
#[must_use]
pub fn image(root: &Path) -> PathBuf {
    let folder = root.join("target/vm");
    let mut script = tools::command("sh");
    tools::finish(script.arg(root.join("scripts/vm-image.sh")).arg(&folder).stderr(Stdio::inherit()));
    folder
}

/// The options of softnet's by which the VM finds something allowed and something blocked.
#[must_use]
pub fn policy(facts: &Facts) -> String {
    format!("--allow {}/32 --block {}/32", facts.other_private, facts.other_web)
}

/// What the VM's kernel is told: where its console is, and whom of `facts` it is to try.
#[must_use]
pub fn kernel_line(facts: &Facts) -> String {
    let Facts { web, other_web, name: (name, _), private, other_private, metadata, .. } = facts;
    // The machine's own sleep states and clocks cost seconds of boot under emulation.
    format!(
        "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off softnet.web={web} softnet.name={name} \
         softnet.private={private} softnet.metadata={metadata} softnet.allowed={other_private} softnet.blocked={other_web}"
    )
}

/// QEMU's options for a machine that boots `image` and tells its console what it finds of `facts`: all but its network card.
#[must_use]
pub fn machine(image: &Path, facts: &Facts) -> Vec<OsString> {
    [vec!["-machine".into(), "pc".into()], boots(image, &kernel_line(facts))].concat()
}

/// The same for QEMU's `microvm`, which whoever calls this asks for.
#[must_use]
pub fn microvm(image: &Path, facts: &Facts) -> Vec<OsString> {
    let mut kernel = kernel_line(facts);
    // Its one clock to measure the TSC by is the PIT, which a busy machine emulates too badly: Linux then waits for ever. The TSC
    // is this machine's own under emulation.
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut megahertz = processors.lines().filter_map(|line| line.strip_prefix("cpu MHz")?.split(": ").nth(1));
    if let Some(megahertz) = megahertz.next().and_then(|text| text.parse::<f64>().ok()) {
        kernel.push_str(&format!(" tsc_early_khz={:.0}", megahertz * 1000.0));
    }
    boots(image, &kernel)
}

fn boots(image: &Path, kernel: &str) -> Vec<OsString> {
    let fixed = "-accel tcg -m 192 -nodefaults -no-user-config -display none -no-reboot";
    let mut options: Vec<OsString> = fixed.split(' ').map(OsString::from).collect();
    options.extend([
        "-kernel".into(),
        image.join("vmlinuz").into(),
        "-initrd".into(),
        image.join("initramfs.gz").into(),
    ]);
    options.extend(["-append".into(), kernel.into()]);
    options.extend(["-serial".into(), format!("file:{}", scratch("console").display()).into()]);
    options
}

fn scratch(name: &str) -> PathBuf {
    Path::new(isolate::SCRATCH).join(name)
}

/// The file that a VM's serial console writes to.
#[derive(Clone, Debug)]
pub struct Console(pub PathBuf);

impl Console {
    /// All of it so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.0).unwrap_or_default()).into_owned()
    }

    /// What the VM has found so far: `RESULT <what> <outcome>`.
    #[must_use]
    pub fn results(&self) -> BTreeMap<String, String> {
        let text = self.text();
        let lines = text.lines().filter_map(|line| line.trim_end().strip_prefix("RESULT ")?.split_once(' '));
        lines.map(|(what, outcome)| (what.to_owned(), outcome.trim().to_owned())).collect()
    }

    /// Waits until the VM has found out `what`.
    ///
    /// # Panics
    /// When it does not within [`LIMIT`]; the console is printed.
    pub fn wait_for(&self, what: &str) {
        let found = || self.results().contains_key(what).then_some(());
        wait::until(&format!("the VM's word about {what}"), LIMIT, found)
            .unwrap_or_else(|error| panic!("{error}; its console:\n{}", self.text()));
    }
}

/// A VM that runs.
#[derive(Debug)]
pub struct Vm {
    qemu: Child,
    console: Console,
}

impl Vm {
    /// Boots `image` with the frame socket `socket` as its network card `mac`.
    ///
    /// # Panics
    /// When QEMU cannot be started.
    #[must_use]
    pub fn boot(image: &Path, socket: UnixDatagram, mac: Mac, facts: &Facts) -> Self {
        let mut command = tools::command("qemu-system-x86_64");
        command.args(machine(image, facts)).args(["-netdev", "dgram,id=net,local.type=fd,local.str=0"]);
        command.args(["-device", &format!("virtio-net-pci,netdev=net,romfile=,mac={mac}")]);
        Vm::start(command.stdin(OwnedFd::from(socket)))
    }

    /// Starts `command`, which is or runs QEMU with what [`machine`] says.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let errors = fs::File::create(scratch("qemu-errors")).expect("a file for errors is made");
        let qemu = command.stdout(Stdio::null()).stderr(errors).spawn().expect("QEMU starts");
        Vm { qemu, console: Console(scratch("console")) }
    }

    /// Waits until it has found out `what`.
    ///
    /// # Panics
    /// When it does not within [`LIMIT`].
    pub fn wait_for(&self, what: &str) {
        self.console.wait_for(what);
    }

    /// Waits until it powers off, and returns what it found: `RESULT <what> <outcome>`.
    ///
    /// # Panics
    /// When it does not within [`LIMIT`]; the console is printed.
    #[must_use]
    pub fn results(mut self) -> BTreeMap<String, String> {
        let ended = wait::until("the end of the VM", LIMIT, || self.qemu.try_wait().expect("a child can be asked"));
        let results = self.console.results();
        if ended.is_err() || !results.contains_key("done") {
            let errors = fs::read_to_string(scratch("qemu-errors")).unwrap_or_default();
            let console = self.console.text();
            panic!("the VM did not come to its end ({ended:?}); QEMU said: {errors}\nits console:\n{console}");
        }
        results
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
