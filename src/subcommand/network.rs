//! `softnet network status` and `softnet network down`.

use super::{SubcommandError, print};
use crate::cli::NetworkAction;
use crate::host::tap::{self, Force};
use crate::privilege::{self, Identity, Standing};

/// Runs `softnet network ACTION`.
pub(super) fn network(standing: Standing, action: NetworkAction) -> Result<(), SubcommandError> {
    // A person waits at a terminal and ends this with Ctrl-C, like any command.
    let mut wait = |duration| {
        std::thread::sleep(duration);
        Ok(())
    };
    match action {
        NetworkAction::Status if standing == Standing::Unprivileged => Err(SubcommandError::NeedsRoot),
        NetworkAction::Status => {
            // Nothing of it is secret: anyone may list interfaces and processes. What is printed is printed as the caller.
            let status = tap::status(&mut wait)?;
            if let Standing::Setuid { .. } = standing {
                privilege::drop_to(Identity::choose(standing, None, None)?)?;
            }
            print(&status)
        }
        NetworkAction::Down { force } if standing == Standing::Root => {
            print(&tap::down(if force { Force::Yes } else { Force::No }, &mut wait)?)
        }
        NetworkAction::Down { .. } => Err(SubcommandError::RootOnly),
    }
}
