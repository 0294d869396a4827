//! The modes that a client wants its terminal to have (RFC 4254, section 8). Pure: changes a `Termios` in memory.
//!
//! Unknown and meaningless modes are skipped, as OpenSSH does: a client sends all that its own system has.

use russh::Pty;
use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios};

/// A client's "no such key".
const DISABLED: u32 = 255;

const KEYS: [(Pty, SpecialCodeIndex); 13] = [
    (Pty::VINTR, SpecialCodeIndex::VINTR),
    (Pty::VQUIT, SpecialCodeIndex::VQUIT),
    (Pty::VERASE, SpecialCodeIndex::VERASE),
    (Pty::VKILL, SpecialCodeIndex::VKILL),
    (Pty::VEOF, SpecialCodeIndex::VEOF),
    (Pty::VEOL, SpecialCodeIndex::VEOL),
    (Pty::VEOL2, SpecialCodeIndex::VEOL2),
    (Pty::VSTART, SpecialCodeIndex::VSTART),
    (Pty::VSTOP, SpecialCodeIndex::VSTOP),
    (Pty::VSUSP, SpecialCodeIndex::VSUSP),
    (Pty::VREPRINT, SpecialCodeIndex::VREPRINT),
    (Pty::VWERASE, SpecialCodeIndex::VWERASE),
    (Pty::VLNEXT, SpecialCodeIndex::VLNEXT),
];
const INPUT: [(Pty, InputModes); 13] = [
    (Pty::IGNPAR, InputModes::IGNPAR),
    (Pty::PARMRK, InputModes::PARMRK),
    (Pty::INPCK, InputModes::INPCK),
    (Pty::ISTRIP, InputModes::ISTRIP),
    (Pty::INLCR, InputModes::INLCR),
    (Pty::IGNCR, InputModes::IGNCR),
    (Pty::ICRNL, InputModes::ICRNL),
    (Pty::IUCLC, InputModes::IUCLC),
    (Pty::IXON, InputModes::IXON),
    (Pty::IXANY, InputModes::IXANY),
    (Pty::IXOFF, InputModes::IXOFF),
    (Pty::IMAXBEL, InputModes::IMAXBEL),
    (Pty::IUTF8, InputModes::IUTF8),
];
const LOCAL: [(Pty, LocalModes); 13] = [
    (Pty::ISIG, LocalModes::ISIG),
    (Pty::ICANON, LocalModes::ICANON),
    (Pty::XCASE, LocalModes::XCASE),
    (Pty::ECHO, LocalModes::ECHO),
    (Pty::ECHOE, LocalModes::ECHOE),
    (Pty::ECHOK, LocalModes::ECHOK),
    (Pty::ECHONL, LocalModes::ECHONL),
    (Pty::NOFLSH, LocalModes::NOFLSH),
    (Pty::TOSTOP, LocalModes::TOSTOP),
    (Pty::IEXTEN, LocalModes::IEXTEN),
    (Pty::ECHOCTL, LocalModes::ECHOCTL),
    (Pty::ECHOKE, LocalModes::ECHOKE),
    (Pty::PENDIN, LocalModes::PENDIN),
];
const OUTPUT: [(Pty, OutputModes); 6] = [
    (Pty::OPOST, OutputModes::OPOST),
    (Pty::OLCUC, OutputModes::OLCUC),
    (Pty::ONLCR, OutputModes::ONLCR),
    (Pty::OCRNL, OutputModes::OCRNL),
    (Pty::ONOCR, OutputModes::ONOCR),
    (Pty::ONLRET, OutputModes::ONLRET),
];
const CONTROL: [(Pty, ControlModes); 4] = [
    (Pty::CS7, ControlModes::CS7),
    (Pty::CS8, ControlModes::CS8),
    (Pty::PARENB, ControlModes::PARENB),
    (Pty::PARODD, ControlModes::PARODD),
];

pub(in crate::ssh) fn apply(modes: &[(Pty, u32)], to: &mut Termios) {
    for &(mode, value) in modes {
        let on = value != 0;
        if let Some((_, key)) = KEYS.iter().find(|known| known.0 == mode) {
            // Zero is Linux' "no such key".
            let code = if value == DISABLED { Some(0) } else { u8::try_from(value).ok() };
            if let Some(code) = code {
                to.special_codes[*key] = code;
            }
        } else if let Some((_, flag)) = INPUT.iter().find(|known| known.0 == mode) {
            to.input_modes.set(*flag, on);
        } else if let Some((_, flag)) = LOCAL.iter().find(|known| known.0 == mode) {
            to.local_modes.set(*flag, on);
        } else if let Some((_, flag)) = OUTPUT.iter().find(|known| known.0 == mode) {
            to.output_modes.set(*flag, on);
        } else if let Some((_, flag)) = CONTROL.iter().find(|known| known.0 == mode) {
            // CS7 and CS8 are one field of two bits: only what is wanted is set.
            let mask = if matches!(mode, Pty::CS7 | Pty::CS8) { ControlModes::CSIZE } else { *flag };
            if on {
                to.control_modes = to.control_modes.difference(mask).union(*flag);
            } else if mask == *flag {
                to.control_modes.remove(*flag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt, unlockpt};
    use rustix::termios::tcgetattr;

    #[test]
    fn what_a_client_wants_is_set_and_the_rest_is_left() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&terminal).unwrap();
        let mut modes = tcgetattr(&terminal).unwrap();
        assert!(modes.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON));
        let wanted = [
            (Pty::ECHO, 0),
            (Pty::VERASE, 8),
            (Pty::VSUSP, 255),
            (Pty::VKILL, 70_000),
            (Pty::CS7, 1),
            (Pty::ONLCR, 0),
            (Pty::TTY_OP_ISPEED, 9600),
            (Pty::TTY_OP_END, 0),
        ];
        let kill = modes.special_codes[SpecialCodeIndex::VKILL];
        apply(&wanted, &mut modes);
        assert!(!modes.local_modes.contains(LocalModes::ECHO));
        assert!(modes.local_modes.contains(LocalModes::ICANON));
        assert!(!modes.output_modes.contains(OutputModes::ONLCR));
        assert_eq!(modes.control_modes & ControlModes::CSIZE, ControlModes::CS7);
        let keys = &modes.special_codes;
        assert_eq!(keys[SpecialCodeIndex::VERASE], 8);
        assert_eq!(keys[SpecialCodeIndex::VSUSP], 0);
        assert_eq!(keys[SpecialCodeIndex::VKILL], kill);
    }
}
