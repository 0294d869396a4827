//! Every way in which disks can be found, and what is decided about them.
