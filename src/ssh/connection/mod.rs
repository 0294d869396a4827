//! What both servers do with a connection: who may connect, log in and stay, and how they are told when they may not.
//! It knows nothing of what a client may do.

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
pub(super) mod wire;
