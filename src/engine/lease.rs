//! The guest's lease.
