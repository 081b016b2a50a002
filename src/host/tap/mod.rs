//! Linux: a TAP device on a bridge.
