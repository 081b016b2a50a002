//! What a Mac can measure.
pub(crate) const ARGUMENT: &str = "--portable";
pub(crate) fn main() {}
