//! The fleet's table of addresses, with one line for each card. A node finds its lines by its name or machine id.

use std::net::Ipv4Addr;

/// More than any fleet has cards.
const MOST_LINES: usize = 100_000;

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) host: String,
    pub(super) card: u32,
    pub(super) address: Ipv4Addr,
    pub(super) netmask: Ipv4Addr,
    pub(super) gateway: Option<Ipv4Addr>,
}

/// Parses the table. The first line names the columns, in any order: host, card, address, netmask, and optionally
/// gateway. Empty lines and lines that start with # are skipped. Quotes are not supported: no value needs them.
pub(super) fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (_, header) = lines.next().ok_or("it is empty")?;
    let columns = Columns::parse(header)?;
    let mut rows = Vec::new();
    for (number, line) in lines {
        if rows.len() >= MOST_LINES {
            return Err(format!("it has more than {MOST_LINES} lines"));
        }
        rows.push(columns.row(number, line).map_err(|why| format!("line {number}: {why}"))?);
    }
    Ok(rows)
}

struct Columns {
    names: Vec<String>,
}

impl Columns {
    const NEEDED: [&str; 4] = ["host", "card", "address", "netmask"];

    fn parse(header: &str) -> Result<Self, String> {
        let names: Vec<String> = header.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
        for name in Self::NEEDED {
            if !names.iter().any(|known| known == name) {
                return Err(format!("its first line names no column {name}"));
            }
        }
        for (index, name) in names.iter().enumerate() {
            if !Self::NEEDED.contains(&name.as_str()) && name != "gateway" {
                return Err(format!("its first line names a column {name:?}, which nobody knows"));
            }
            if names.iter().take(index).any(|earlier| earlier == name) {
                return Err(format!("its first line names the column {name} twice"));
            }
        }
        Ok(Self { names })
    }

    fn row(&self, line: usize, text: &str) -> Result<Row, String> {
        let values: Vec<&str> = text.split(',').map(str::trim).collect();
        if values.len() != self.names.len() {
            return Err(format!(
                "it has {} values, and there are {} columns",
                values.len(),
                self.names.len()
            ));
        }
        let value = |name: &str| {
            let index = self.names.iter().position(|known| known == name)?;
            values.get(index).copied().filter(|value| !value.is_empty())
        };
        let need = |name: &str| value(name).ok_or_else(|| format!("it has no {name}"));
        let ip = |name: &str, text: &str| {
            text.parse::<Ipv4Addr>()
                .map_err(|_| format!("{name} is {:?}, which is no IPv4 address", short(text)))
        };
        let card = need("card")?;
        Ok(Row {
            line,
            host: need("host")?.to_owned(),
            card: card.parse().map_err(|_| format!("card is {:?}, which is no number", short(card)))?,
            address: ip("address", need("address")?)?,
            netmask: ip("netmask", need("netmask")?)?,
            gateway: value("gateway").map(|text| ip("gateway", text)).transpose()?,
        })
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let rows = parse(
            "# fleet\naddress,netmask,host,card,gateway\n\n10.0.0.1, 255.255.0.0, node1, 0, 10.0.0.254\r\n\
             10.0.0.2,255.255.0.0,node1,1,\n",
        )
        .unwrap();
        assert_eq!((rows[0].line, rows[0].host.as_str(), rows[0].card), (4, "node1", 0));
        assert_eq!(rows[0].gateway, Some(Ipv4Addr::new(10, 0, 0, 254)));
        assert_eq!((rows[1].address, rows[1].gateway), (Ipv4Addr::new(10, 0, 0, 2), None));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let header = "host,card,address,netmask\n";
        for (text, why) in [
            (String::new(), "empty"),
            ("host,card,address\n".into(), "no column netmask"),
            ("host,card,address,netmask,mac\n".into(), "\"mac\""),
            ("host,card,address,netmask,host\n".into(), "twice"),
            (format!("{header}a,0,10.0.0.1\n"), "line 2: it has 3 values"),
            (format!("{header}a,0,10.0.0.1,\n"), "it has no netmask"),
            (format!("{header},0,10.0.0.1,255.0.0.0\n"), "it has no host"),
            (format!("{header}a,x,10.0.0.1,255.0.0.0\n"), "no number"),
            (format!("{header}a,-1,10.0.0.1,255.0.0.0\n"), "no number"),
            (format!("{header}a,0,10.0.0.256,255.0.0.0\n"), "no IPv4 address"),
            (format!("{header}a,0,\"10.0.0.1\",255.0.0.0\n"), "no IPv4 address"),
            (format!("{header}a,0,fe80::1,255.0.0.0\n"), "no IPv4 address"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
