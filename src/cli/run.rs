//! `softnet run [options] -- COMMAND`: the options are those of serving a guest, but for the guest's socket, which `run` makes.
//!
//! They are taken out as they were typed, since the softnet that serves the guest will read them, and read once here, so that
//! a mistake is told before anything is started.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser as _};

use super::values::{parse_mac, parse_name, parse_tap};
use super::{Cli, Command};
use crate::engine::EthernetAddress;

/// The word that it begins with.
const WORD: &str = "run";
/// The options of `run` itself that have a value.
const OWN: [&str; 3] = [NAME, "--vm-mac-address", "--tap"];
/// The one of these that the other softnet has as well.
const NAME: &str = "--name";
/// The descriptor by which the softnet that serves the guest says that it is ready: among the three that sudo leaves open.
pub const READY_FD: RawFd = 1;

/// `softnet run`.
#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "softnet run [OPTIONS] -- COMMAND [ARGS]...",
    after_help = "All options of softnet's but --vm-fd and --socket may be given as well: softnet --help.\n\
                  In ARGS, {fd} stands for the descriptor with the VM's frames and {mac} for its MAC address; COMMAND also finds\n\
                  them as SOFTNET_FD and SOFTNET_MAC. With --tap it is {tap} and SOFTNET_TAP, and no {fd}. The exit code is COMMAND's, 128 and the number of the signal that ended it, or\n\
                  1 when softnet itself cannot serve it."
)]
pub struct RunOptions {
    /// What the VM is called: its MAC address is made from it, so that it gets the same IP address again
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub name: Option<String>,

    /// The VM's MAC address [default: made from the name; without a name, another one each time]
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    pub vm_mac_address: Option<EthernetAddress>,

    /// Linux: a TAP device of this name in place of the descriptor, where COMMAND finds it and nobody else
    #[arg(long, value_name = "NAME", value_parser = parse_tap)]
    pub tap: Option<String>,

    /// The program that runs the VM, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    /// The options for the softnet that serves the guest, as they were typed.
    #[arg(skip)]
    pub serve: Vec<OsString>,

    /// Their control channel, which is for that softnet alone.
    #[arg(skip)]
    pub control_fd: Option<RawFd>,
}

impl RunOptions {
    /// The command line of the softnet that serves the guest `mac`, without the program's name: its standard input is the guest's socket.
    #[must_use]
    pub fn serve_words(&self, mac: &str) -> Vec<OsString> {
        let ready = READY_FD.to_string();
        let fixed = ["--vm-fd", "0", "--vm-mac-address", mac, "--ready-fd", &ready];
        fixed.into_iter().map(OsString::from).chain(self.serve.iter().cloned()).collect()
    }
}

/// Whether `words`, the program's name first, begin a `softnet run`.
#[must_use]
pub(super) fn is_meant(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == WORD)
}

/// Reads them.
pub(super) fn read(words: &[OsString]) -> Result<Cli, clap::Error> {
    let (own, serve) = divide(words);
    let mut cli = Cli::try_parse_from(own)?;
    if let Some(Command::Run(run)) = &mut cli.command {
        run.serve = serve;
        check(run)?;
    }
    Ok(cli)
}

/// What is `run`'s own, with the command, and the options of the softnet that it starts.
fn divide(words: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (options, command) = words.split_at(end);
    let (mut own, mut serve) = (Vec::new(), Vec::new());
    let mut options = options.iter();
    // The program's name and `run`.
    own.extend(options.by_ref().take(2).cloned());
    while let Some(option) = options.next() {
        if option == "--help" || option == "-h" {
            own.push(option.clone());
        } else if OWN.iter().any(|name| option == name) {
            let pair = [Some(option), options.next()];
            own.extend(pair.into_iter().flatten().cloned());
            if option == NAME {
                serve.extend(pair.into_iter().flatten().cloned());
            }
        } else if OWN.iter().any(|name| is_given_with(option, name)) {
            own.push(option.clone());
            if is_given_with(option, NAME) {
                serve.push(option.clone());
            }
        } else {
            serve.push(option.clone());
        }
    }
    own.extend(command.iter().cloned());
    (own, serve)
}

/// Whether `option` is `NAME=VALUE`.
fn is_given_with(option: &OsStr, name: &str) -> bool {
    option.as_encoded_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

/// What the other softnet would say of its options.
fn check(run: &mut RunOptions) -> Result<(), clap::Error> {
    const ANY: &str = "2:0:0:0:0:1";
    let words = [OsString::from("softnet")].into_iter().chain(run.serve_words(ANY));
    let cli = Cli::checked(Cli::try_parse_from(words)?)?;
    run.control_fd = cli.serve.and_then(|serve| serve.control_fd);
    if let Some(fd) = run.control_fd.filter(|&fd| fd <= 2) {
        return Err(Cli::command().error(
            ErrorKind::ValueValidation,
            format!("--control-fd {fd}: with run, 0, 1 and 2 are COMMAND's: pass the channel's socket as 3 or above"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::one_line;
    use super::*;

    fn read_line(line: &str) -> Result<RunOptions, String> {
        let words = line.split(' ').map(OsString::from);
        match Cli::read(words).map_err(|error| one_line(&error))?.command {
            Some(Command::Run(run)) => Ok(run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_go_to_whom_they_are_for() {
        let run = read_line("softnet run --block 10.0.0.0/8 --name web --allow=@host -- qemu --name x -- y").unwrap();
        assert_eq!(run.name.as_deref(), Some("web"));
        assert_eq!(run.serve, ["--block", "10.0.0.0/8", "--name", "web", "--allow=@host"]);
        assert_eq!(run.command, ["qemu", "--name", "x", "--", "y"]);
        let run = read_line("softnet run --name=web --vm-mac-address=2:0:0:0:0:9 -- qemu").unwrap();
        assert_eq!(run.vm_mac_address, Some(EthernetAddress([2, 0, 0, 0, 0, 9])));
        assert_eq!(run.serve, ["--name=web"]);
        if cfg!(target_os = "linux") {
            let tapped = read_line("softnet run --tap vm0 --name web --tap=vm-1.2 -- qemu --tap x");
            assert!(tapped.is_err_and(|error| error.contains("--tap")), "one device");
            let run = read_line("softnet run --reject --tap=vm-1.2 -- qemu --tap x").unwrap();
            assert_eq!((run.tap.as_deref(), &run.serve[..]), (Some("vm-1.2"), &["--reject".into()][..]));
        }
        let words = ["--vm-fd", "0", "--vm-mac-address", "2:0:0:0:0:9", "--ready-fd", "1", "--name=web"];
        assert_eq!(run.serve_words("2:0:0:0:0:9"), words);
    }

    #[test]
    fn what_the_other_softnet_would_refuse_is_refused_at_once() {
        for (line, word) in [
            ("softnet run --block nothing..good -- qemu", "--block"),
            ("softnet run --vm-fd 3 -- qemu", "--vm-fd"),
            ("softnet run --socket /x -- qemu", "--socket"),
            ("softnet run --control-fd 1 -- qemu", "--control-fd 1"),
            ("softnet run --policy-names -- qemu", "--control-fd"),
            ("softnet run network status -- qemu", "network"),
            ("softnet run --name= -- qemu", "--name"),
            ("softnet run --tap lo -- qemu", "--tap"),
            ("softnet run --tap sixteen-letters- -- qemu", "--tap"),
            ("softnet --tap vm0 --vm-fd 0", "--tap"),
            ("softnet run --vm-mac-address 1:0:0:0:0:1 -- qemu", "--vm-mac-address"),
            ("softnet run --name web", "COMMAND"),
            ("softnet run --name web --", "COMMAND"),
            ("softnet run qemu", "COMMAND"),
        ] {
            let error = read_line(line).expect_err(line);
            assert!(error.contains(word) && !error.contains('\n'), "{line}: {error}");
        }
    }

    #[test]
    fn help_is_about_run() {
        let words = ["softnet", "run", "--block", "10.0.0.0/8", "--help"].map(OsString::from);
        let error = Cli::read(words).expect_err("help");
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
        assert!(error.to_string().contains("{fd}"));
    }
}
