//! Allow and block entries.
