//! Verdicts, their reasons, and one counter a reason.
