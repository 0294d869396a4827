//! The kernel's log: which processes the kernel killed for want of memory. Processes choose their own names, so that
//! the names are hostile input.

use crate::model::text::plain;
use rustix::fs::{Mode, OFlags, open};
use std::io::{self, Read as _};

const LOG: &str = "/dev/kmsg";
/// One read gives one record, which is no longer.
const LONGEST_RECORD: usize = 8 << 10;
/// The log is a ring; who writes faster than we read is not followed for ever.
const MOST_RECORDS: usize = 100_000;
const MOST_NAMES: usize = 64;

/// Names of the processes killed in a container, oldest first, as far as the log goes back.
pub fn killed_in(container_id: &str) -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut log = std::fs::File::from(open(LOG, flags, Mode::empty())?);
    let mut reader = Reader::new(container_id);
    let mut record = [0; LONGEST_RECORD];
    for _ in 0..MOST_RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                // Before the `;` stand numbers, after the first line `KEY=value` pairs.
                if let Some(line) = text.split_once(';').and_then(|(_, text)| text.lines().next()) {
                    reader.line(line);
                }
            }
            // What we were about to read was overwritten: the next read goes on behind it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(reader.names)
}

/// Lines of the log, one after the other. Kernels from 5.0 on say it in one line, older ones in two.
struct Reader<'a> {
    container_id: &'a str,
    /// The last kill that was announced is in this container.
    announced: bool,
    names: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(container_id: &'a str) -> Self {
        Self { container_id, announced: false, names: Vec::new() }
    }

    fn line(&mut self, line: &str) {
        let name = if let Some(rest) = line.strip_prefix("oom-kill:") {
            self.new_line(rest)
        } else if let Some(rest) = line.strip_prefix("Task in ") {
            let path = rest.split(" killed as a result of limit of ").next().unwrap_or_default();
            self.announced = self.names_us(path);
            None
        } else if let Some(at) = line.find("Killed process ").filter(|_| self.announced) {
            self.announced = false;
            old_name(line.get(at..).unwrap_or_default())
        } else {
            None
        };
        if let Some(name) = name {
            if self.names.len() == MOST_NAMES {
                self.names.remove(0);
            }
            self.names.push(name.chars().filter(|c| plain(*c) == *c).collect());
        }
    }

    fn names_us(&self, path: &str) -> bool {
        !self.container_id.is_empty() && path.contains(self.container_id)
    }

    /// `constraint=…,task_memcg=PATH,task=NAME,pid=N,uid=N`. Nobody but root names a cgroup; a process may be called
    /// `,task=x,pid=1`, so that the path ends at the first mark and the name at the last.
    fn new_line<'l>(&self, line: &'l str) -> Option<&'l str> {
        let (_, rest) = line.split_once(",task_memcg=")?;
        let (path, rest) = rest.split_once(",task=")?;
        let (name, _) = rest.rsplit_once(",pid=")?;
        self.names_us(path).then_some(name)
    }
}

/// `Killed process 4242 (python) total-vm:…`
fn old_name(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once('(')?;
    rest.rsplit_once(") total-vm:").or_else(|| rest.rsplit_once("), ")).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "ec9851b2430ac1e40269e364d3e2ecff7da04b5cd1477c33b89d8d5fcba08a74";

    fn names(lines: &[String]) -> Vec<String> {
        let mut reader = Reader::new(OURS);
        for line in lines {
            reader.line(line);
        }
        reader.names
    }

    fn new(id: &str, name: &str) -> String {
        format!(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={id},mems_allowed=0,oom_memcg=/docker/{id},\
             task_memcg=/docker/{id},task={name},pid=21371,uid=0"
        )
    }

    /// As this kernel, 6.18, wrote it for a container of Docker's.
    #[test]
    fn a_kill_in_the_container_is_found_by_its_cgroup() {
        let other = "f".repeat(64);
        let killed = |name: &str| {
            format!(
                "Memory cgroup out of memory: Killed process 21371 ({name}) total-vm:90168kB, anon-rss:64512kB"
            )
        };
        let lines = [new(OURS, "tail"), killed("tail"), new(&other, "x"), killed("x"), new(OURS, "python")];
        assert_eq!(names(&lines), ["tail", "python"]);
    }

    #[test]
    fn a_process_cannot_name_itself_into_another_container() {
        let other = "f".repeat(64);
        let name = format!(",task_memcg=/docker/{OURS},task=y");
        assert_eq!(names(&[new(&other, &name)]), Vec::<String>::new());
        assert_eq!(names(&[new(OURS, ",task=x,pid=1")]), [",task=x,pid=1"]);
    }

    /// As Linux 4.19 writes it (mm/memcontrol.c and mm/oom_kill.c of that release).
    #[test]
    fn an_older_kernel_says_it_in_two_lines() {
        let lines = [
            format!("Task in /docker/{OURS} killed as a result of limit of /docker/{OURS}"),
            "memory: usage 65536kB, limit 65536kB, failcnt 12".into(),
            "Memory cgroup out of memory: Kill process 4242 (python) score 980 or sacrifice child".into(),
            "Killed process 4242 (python) total-vm:90168kB, anon-rss:64512kB".into(),
            "Killed process 4243 (other) total-vm:90168kB, anon-rss:64512kB".into(),
        ];
        assert_eq!(names(&lines), ["python"]);
    }

    #[test]
    fn the_log_of_this_machine_is_read_or_refused_but_never_waited_for() {
        if let Ok(names) = killed_in(&"0".repeat(64)) {
            assert_eq!(names, Vec::<String>::new());
        }
    }
}
