//! Configuration files, with defaults. An error shows the place in the file and a valid key.
//!
//! `config` is one agent's file; `profile` says what a kind of node looks like; `catalogue` lists base images.

mod bootstrap;
mod catalogue;
mod check;
mod config;
mod docker;
mod driver;
mod idle;
mod keep_free;
mod lease;
mod limits;
mod load;
mod node;
mod settings;
mod shipped;

pub use bootstrap::{Bootstrap, DiskWants, Layout};
pub use catalogue::{Catalogue, CatalogueImage, Pin, import_name};
pub use check::CheckRules;
pub use config::{BetweenBerths, Config, DockerConfig, EventAge, EventsConfig, Paths, SshConfig, Tools};
pub use docker::{AddressPool, DockerWants};
pub use driver::{DriverWants, HccnWants, WantedAddress};
pub use idle::IdleLimits;
pub use keep_free::KeepFree;
pub use lease::LeaseRules;
pub use limits::{GroupLimits, LeaseLimit, LimitRules};
pub use load::{DEFAULT_CONFIG, is_file, load_config, load_profile, parse_toml};
pub use node::{
    BerthRules, Dataset, Devices, Faults, ForeignHolder, LEAST_MEMORY, Mount, Profile, Simulation,
};
pub use settings::{Changed, Settings};
pub use shipped::shipped_profile;
