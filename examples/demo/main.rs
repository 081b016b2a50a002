//! `make demo`: softnet at work, with the real binary: on Linux in namespaces of its own, on a Mac on its vmnet.
//!
//! Every line is an attempt and what came of it. On Linux, a guest is attacked on a plain bridge first, where the theft
//! succeeds; then behind softnet. Whatever goes otherwise than it must is marked, and makes the exit code 1.

mod acts;
mod live_act;
#[cfg(target_os = "linux")]
mod operate_act;
#[cfg(target_os = "linux")]
mod plain_act;
mod report;
#[cfg(target_os = "linux")]
mod vm_act;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
#[cfg(target_os = "linux")]
use std::time::Duration;

use report::Report;
#[cfg(target_os = "linux")]
use softnet_testbed::guest::vm;
use softnet_testbed::isolate;

/// The whole demo, the VM's boot included.
#[cfg(target_os = "linux")]
const LIMIT: Duration = Duration::from_secs(115);

const HELP: &str = "\
Plays softnet's demo: on Linux in network, mount and PID namespaces of its own, on a Mac on its vmnet.

Usage: demo [--vm] [--softnet PATH]

  --vm            boot a real VM under QEMU as the guest (Linux)
  --softnet PATH  the program to show [default: the one built beside this demo]
  --color WHEN    always or never [default: always on a terminal, unless NO_COLOR is set]
";

/// What was typed.
struct Arguments {
    vm: bool,
    softnet: PathBuf,
    color: bool,
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            Report::new(false).raw(HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => return fail(&format!("{problem} (try --help)")),
    };
    if !arguments.softnet.is_file() {
        return fail(&format!("{} is not there: cargo build --release", arguments.softnet.display()));
    }
    enter(&arguments)
}

/// Waits for the turn on this Mac's vmnet.
#[cfg(target_os = "macos")]
fn enter(arguments: &Arguments) -> ExitCode {
    if arguments.vm {
        return fail("--vm: the VM is one of QEMU's on Linux; on a Mac `tart run --net-softnet` is a real one");
    }
    let _turn = isolate::take_turn();
    play(arguments)
}

/// Starts this program again, in namespaces of its own.
#[cfg(target_os = "linux")]
fn enter(arguments: &Arguments) -> ExitCode {
    if isolate::is_inside() {
        return play(arguments);
    }
    if arguments.vm {
        let _ = vm::image(Path::new(env!("CARGO_MANIFEST_DIR")));
    }
    let exe = match std::env::current_exe() {
        Ok(exe) => exe,
        Err(error) => return fail(&format!("this program cannot be found: {error}")),
    };
    let mut command = isolate::command(&exe, LIMIT);
    command.arg("--softnet").arg(&arguments.softnet);
    command.args(["--color", if arguments.color { "always" } else { "never" }]);
    if arguments.vm {
        command.arg("--vm");
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) if status.code() == Some(1) => ExitCode::FAILURE,
        Ok(status) if status.code() == Some(137) => fail(&format!("it did not end within {} s", LIMIT.as_secs())),
        Ok(status) => fail(&format!("it ended with {status}")),
        Err(error) => fail(&format!("namespaces cannot be made: {error}")),
    }
}

/// The demo itself.
fn play(arguments: &Arguments) -> ExitCode {
    let mut report = Report::new(arguments.color);
    #[cfg(target_os = "linux")]
    plain_act::without_softnet(&mut report);
    #[cfg(target_os = "macos")]
    report.heading(
        "Without softnet",
        "A Mac has no bridge that filters nothing for a demo to try the thefts on first; Linux's demo has.",
    );
    let bed = acts::host(&arguments.softnet);
    #[cfg(target_os = "linux")]
    if arguments.vm {
        vm_act::a_real_vm(&mut report, &bed, Path::new(env!("CARGO_MANIFEST_DIR")));
        return report.finish();
    }
    acts::with_softnet(&mut report, &bed);
    acts::policy(&mut report, &bed);
    live_act::live_policy(&mut report, &bed);
    #[cfg(target_os = "linux")]
    operate_act::operate(&mut report, &bed);
    report.finish()
}

fn parse() -> Result<Option<Arguments>, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut softnet = beside.ancestors().nth(2).unwrap_or(Path::new(".")).join("softnet");
    let mut color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut vm = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--vm" => vm = true,
            "--softnet" => softnet = words.next().ok_or("--softnet: the program's path is missing")?.into(),
            "--color" => color = words.next().as_deref() == Some("always"),
            "-h" | "--help" => return Ok(None),
            other => return Err(format!("{other}: no such option")),
        }
    }
    let softnet = softnet.canonicalize().unwrap_or(softnet);
    Ok(Some(Arguments { vm, softnet, color }))
}

fn fail(problem: &str) -> ExitCode {
    eprintln!("demo: {problem}");
    ExitCode::FAILURE
}
