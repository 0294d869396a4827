//! A developer's whole way, from a request to a release, on a real engine with a real agent. Needs root.
//!
//! `BERTH_TEST_DOCKER` names the engine's socket, `BERTH_TEST_IMAGES` the root file systems that `scripts/test`
//! makes. Each test has its own agent, ports, device numbers and directory, so that tests run beside each other
//! and beside other agents of the same engine. A privileged container takes every agent's cards: the test with such a
//! container has a name that ends in `_alone`, and .config/nextest.toml lets no other run beside it.

mod allocation;
mod apart;
mod bad_input;
mod beside;
mod broken;
mod callers;
mod check;
mod conditions;
mod copies;
mod crash;
mod crash_points;
mod events;
mod flood;
mod foreign;
mod full_disk;
mod host_keys;
mod idle;
mod images;
mod inside_events;
mod leases;
mod limits;
mod logs;
mod main_path;
mod moves;
mod notify;
mod numa;
mod proxy;
mod reload;
mod renames;
mod resizes;
mod returns;
mod sessions;
mod snapshots;
mod stops;
mod storage;
mod trust;
mod without_cards;
