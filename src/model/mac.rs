//! The address of a network interface below IP.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address that the kernel gives an interface with this one by itself (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [first, second, third, fourth, fifth, sixth] = self.0;
        let host = [first ^ 2, second, third, 0xff, 0xfe, fourth, fifth, sixth];
        Ipv6Addr::from_bits((0xfe80 << 112) | u128::from(u64::from_be_bytes(host)))
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .ok_or(())?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_none() { Ok(Self(bytes)) } else { Err(()) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&bytes.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_names_itself_by_it() {
        let mac: Mac = "02:42:AC:11:00:02".parse().unwrap();
        assert_eq!(
            (mac.to_string().as_str(), mac.link_local().to_string().as_str()),
            ("02:42:ac:11:00:02", "fe80::42:acff:fe11:2")
        );
        for bad in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:00:02",
            "02:42:ac:11:00:0g",
            "+2:42:ac:11:00:02",
            "02:42:ac:11:00:02 -j",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }
}
