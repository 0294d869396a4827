//! What one caller does for all who ask at the same time. A failure serves them too: where an engine hangs, each of them in
//! turn would hang anew.

use crate::error::{Fault, flatten};
use crate::model::clock::BootTime;

/// What the last try made, or how it failed and when.
#[derive(Debug, Default)]
pub(super) struct Tried<T> {
    pub(super) value: T,
    failed: Option<(BootTime, Fault)>,
}

impl<T> Tried<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value, failed: None }
    }

    /// The failure of a try that ended after the caller had `asked`.
    pub(super) fn check(&self, asked: BootTime) -> Result<(), Fault> {
        match &self.failed {
            Some((ended, fault)) if *ended > asked => Err(fault.clone()),
            _ => Ok(()),
        }
    }

    /// Notes how the caller's own try ended.
    pub(super) fn note<R>(&mut self, ended: BootTime, tried: anyhow::Result<R>) -> anyhow::Result<R> {
        self.failed = tried.as_ref().err().map(|error| (ended, flatten(error)));
        tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_failure_serves_those_who_asked_before_its_end() {
        let at = |seconds| BootTime::default() + Duration::from_secs(seconds);
        let mut tried = Tried::new(0);
        assert!(tried.check(at(0)).is_ok());
        let error = tried.note::<()>(at(60), Err(Fault::docker("it hangs").into())).unwrap_err();
        assert_eq!(error.to_string(), "it hangs");
        assert_eq!(tried.check(at(59)).unwrap_err().message, "it hangs");
        assert!(tried.check(at(60)).is_ok(), "whoever asks later tries anew");
        tried.note(at(70), Ok(())).unwrap();
        assert!(tried.check(at(1)).is_ok());
    }
}
