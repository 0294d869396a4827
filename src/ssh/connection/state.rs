//! What all connections of one server share: its limits, who is logged in, and where events go.

use super::live::Live;
use super::report::Reporter;
use super::traffic::Traffic;
use crate::model::limits::{Algorithms, SshLimits};
use std::sync::Arc;

/// The numbers of one server.
#[derive(Debug, Clone)]
pub(in crate::ssh) struct Limits {
    pub(in crate::ssh) each: SshLimits,
    pub(in crate::ssh) algorithms: Algorithms,
    /// Connections that have not logged in.
    pub(in crate::ssh) strangers: usize,
}

pub(in crate::ssh) struct ServerState {
    pub(in crate::ssh) limits: Limits,
    pub(in crate::ssh) live: Arc<Live>,
    pub(in crate::ssh) reporter: Arc<Reporter>,
    pub(in crate::ssh) traffic: Arc<Traffic>,
}

impl ServerState {
    pub(super) fn new(limits: Limits, reporter: Reporter) -> Arc<Self> {
        Arc::new(Self {
            live: Live::new(&limits.each),
            reporter: Arc::new(reporter),
            limits,
            traffic: Arc::default(),
        })
    }
}
