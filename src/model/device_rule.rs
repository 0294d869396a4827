//! One rule of a device cgroup, as Docker and the kernel write it: `c 236:* rwm`. Pure.

/// Which character devices may be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

impl DeviceRule {
    /// `None` for rules that open no character device: of blocks, or only for making nodes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (kind, numbers, access) =
            (words.next()?, words.next().unwrap_or("*:*"), words.next().unwrap_or("rwm"));
        if !matches!(kind, "c" | "a") || !access.contains(['r', 'w']) {
            return None;
        }
        // `a` means every device, whatever follows it.
        let (major, minor) = if kind == "a" { ("*", "*") } else { numbers.split_once(':')? };
        let number = |text: &str| if text == "*" { Some(None) } else { text.parse().ok().map(Some) };
        Some(Self { major: number(major)?, minor: number(minor)? })
    }

    pub fn covers(self, (major, minor): (u32, u32)) -> bool {
        self.major.is_none_or(|own| own == major) && self.minor.is_none_or(|own| own == minor)
    }

    /// It names a driver. One that takes in every driver says nothing of cards.
    pub fn is_exact(self) -> bool {
        self.major.is_some()
    }
}
