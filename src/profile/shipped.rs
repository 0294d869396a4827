//! The profiles that the program carries, so that one file is enough on a bare node.

const SHIPPED: [(&str, &str); 2] =
    [("snt9b", include_str!("../../profiles/snt9b.toml")), ("sim", include_str!("../../profiles/sim.toml"))];

/// By its bare name.
pub fn shipped_profile(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

pub(super) fn shipped_names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}
