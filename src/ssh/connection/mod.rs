//! What both servers do with a connection: who may connect, log in and stay, and how a client is told when it may
//! not. It does not know what a client may do.

pub(super) mod activity;
pub(super) mod admission;
pub(super) mod client;
pub(super) mod closing;
pub(super) mod front;
pub(super) mod live;
pub(super) mod protocol;
pub(super) mod report;
pub(super) mod socket;
pub(super) mod state;
pub(super) mod traffic;
pub(super) mod wire;
