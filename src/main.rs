//! argv -> cli -> setup -> relay.
fn main() {}
