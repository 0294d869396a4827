//! The Docker layer against a real Docker Engine, real device nodes and a real registry. Needs root.
//!
//! `BERTH_TEST_DOCKER` names the engine's socket (default `/var/run/docker.sock`); without an engine these fail.

mod berth;
mod firewall;
mod image;
mod proxy;
mod registry;
mod rig;
mod scan;
mod version;
