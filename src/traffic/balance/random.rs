//! Any.

use super::{Choose, Open, Seat, any};

/// Any, each as likely as the others.
#[derive(Debug)]
pub(super) struct Random;

impl Choose for Random {
    fn choose(&self, _: &[Seat], open: &Open) -> usize {
        open.at(any(open.len()))
    }
}
