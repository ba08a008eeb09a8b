//! The rules of placement, one a test.
