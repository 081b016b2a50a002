//! `softnet doctor`: what is wrong with this host, a line a check, each with its mend. It changes nothing.
//!
//! # Whose eyes
//! It looks as the user who runs it would meet things. By way of the setuid bit there are three steps: how softnet is installed,
//! by the caller's PATH, is looked at with the caller's own rights; then, as root, the host's network, and what root alone may
//! see of it (the tables of other firewalls, whose guests run); and when all is known, root is dropped for good and the answer is
//! printed as the caller. Of other
//! people's firewalls no rule is told but the names of tables and chains. Without any right, what root alone may see is left
//! out, and a line says so.
//!
//! Nothing is locked: what another softnet is just setting up may be seen half done.

mod administrator;
#[cfg(any(target_os = "macos", test))]
mod bootpd;
#[cfg(target_os = "linux")]
mod firewall;
mod install;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod network;
mod report;

use super::{SubcommandError, print};
use crate::cli::DoctorOptions;
use crate::privilege::{self, Identity, Standing};
use report::{Finding, Json, Level, Text};

/// Runs `softnet doctor`.
pub(super) fn doctor(standing: Standing, options: &DoctorOptions) -> Result<(), SubcommandError> {
    let findings = findings(standing)?;
    if let Standing::Setuid { .. } = standing {
        privilege::drop_to(Identity::choose(standing, None, None)?)?;
    }
    if options.json {
        print(&Json(&findings))?;
    } else {
        print(&Text(&findings))?;
    }
    match findings.iter().filter(|finding| finding.level == Level::Fail).count() {
        0 => Ok(()),
        failed => Err(SubcommandError::Unwell { failed, of: findings.len() }),
    }
}

fn findings(standing: Standing) -> Result<Vec<Finding>, SubcommandError> {
    let mut findings = vec![report::version()];
    let as_caller = || install::check(standing);
    let installed = match standing {
        Standing::Setuid { .. } => Identity::choose(standing, None, None)?.act(standing, as_caller)?,
        Standing::Root | Standing::Unprivileged => as_caller(),
    };
    findings.extend(installed);
    findings.extend(administrator::check());
    #[cfg(target_os = "linux")]
    findings.extend(of_linux(standing));
    #[cfg(target_os = "macos")]
    findings.extend(bootpd::check(crate::host::bootpd::current().as_ref()));
    Ok(findings)
}

#[cfg(target_os = "linux")]
fn of_linux(standing: Standing) -> Vec<Finding> {
    use crate::host::tap::survey::{self, Guests};

    let mut findings = kernel::check();
    let survey = match survey::survey() {
        Ok(survey) => survey,
        Err(error) => {
            findings.push(Finding::fail(
                "network.bridges",
                format!("the host's network cannot be seen: {error}"),
                "run it as root",
            ));
            return findings;
        }
    };
    let guests = Guests::list();
    findings.extend(network::check(&survey, guests.as_ref()));
    findings.extend(firewall::check(standing, &survey));
    findings
}
