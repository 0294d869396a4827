//! The table of places where file systems, volume managers and RAIDs keep superblocks and copies of them, with sources.
//!
//! A disk whose beginning was lost still has the copies. On a blank disk all of these places are blank. It reads
//! nothing itself.

/// A structure, the places where it may be, and how it is recognised there.
pub struct Copies {
    pub kind: &'static str,
    pub places: Places,
    /// How far behind the place its magic number is, and the number.
    pub magic: (u64, &'static [u8]),
}

pub enum Places {
    /// Behind the beginning of the disk, or of a partition.
    At(&'static [u64]),
    /// Near the end of the disk or of the last partition. The end of a disk is read whole: this is for its name.
    End,
    /// Groups 1 and the powers of 3, 5 and 7, for blocks of this size; and the last one (`sparse_super2`).
    ExtGroups { block: u64 },
    /// The beginnings of allocation groups, for the sizes that mkfs.xfs chooses.
    XfsGroups,
    /// The middle.
    Middle,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

use Places::{At, End, ExtGroups, Middle, XfsGroups};

const fn row(kind: &'static str, places: Places, magic: (u64, &'static [u8])) -> Copies {
    Copies { kind, places, magic }
}

pub static TABLE: &[Copies] = &[
    // Linux, fs/btrfs/disk-io.h: btrfs_sb_offset; the fourth, at 1 PiB, is in the on-disk format's documentation.
    row("btrfs", At(&[64 * KIB, 64 * MIB, 256 * GIB, 1024 * TIB]), (0x40, b"_BHRfS_M")),
    // Linux, fs/ext4/super.c and Documentation/filesystems/ext4/blockgroup.rst (sparse_super).
    row("ext4", At(&[KIB]), (0x38, b"\x53\xef")),
    row("ext4", ExtGroups { block: KIB }, (0x38, b"\x53\xef")),
    row("ext4", ExtGroups { block: 2 * KIB }, (0x38, b"\x53\xef")),
    row("ext4", ExtGroups { block: 4 * KIB }, (0x38, b"\x53\xef")),
    // xfsprogs, libxfs/topology.c: calc_default_ag_geometry; each group begins with a superblock.
    row("xfs", At(&[0]), (0, b"XFSB")),
    row("xfs", XfsGroups, (0, b"XFSB")),
    // OpenZFS, include/sys/vdev_impl.h: four labels of 256 KiB, uberblocks from 128 KiB on (little-endian).
    row("zfs_member", At(&[0, 256 * KIB]), (128 * KIB, b"\x0c\xb1\xba\x00")),
    row("zfs_member", End, (128 * KIB, b"\x0c\xb1\xba\x00")),
    // UEFI specification, 5.3.2: the backup header is in the last block.
    row("gpt", At(&[512, 4 * KIB]), (0, b"EFI PART")),
    row("gpt", End, (0, b"EFI PART")),
    // LVM2, lib/format_text/layout.h: the label in sector 1; a second metadata area, where one was asked for, at the end.
    row("LVM2_member", At(&[0, 512, KIB, 1536]), (0, b"LABELONE")),
    row("LVM2_member", At(&[4 * KIB]), (4, b" LVM2 x[5A%r0N*>")),
    row("LVM2_member", End, (4, b" LVM2 x[5A%r0N*>")),
    // bcachefs, libbcachefs/bcachefs_format.h: sector 8, where its layout says, and the end.
    row("bcachefs", At(&[4 * KIB, 2 * MIB]), (24, BCACHEFS)),
    row("bcachefs", End, (24, BCACHEFS)),
    row("bcache", At(&[4 * KIB]), (24, BCACHE)),
    // Linux, include/linux/f2fs_fs.h: two superblocks in the first two blocks.
    row("f2fs", At(&[KIB, 5 * KIB]), (0, b"\x10\x20\xf5\xf2")),
    // ntfs-3g, layout.h and mkntfs.c: the boot sector and its copy in the last sector; the MFT by default at cluster 4
    // (mkntfs) or 3 GiB (Windows), and its mirror at cluster 2 or in the middle.
    row("ntfs", At(&[0]), (3, b"NTFS    ")),
    row("ntfs", End, (3, b"NTFS    ")),
    row("ntfs", At(&[8 * KIB, 16 * KIB, 3 * GIB]), (0, b"FILE0")),
    row("ntfs", Middle, (0, b"FILE0")),
    // libblkid, superblocks/refs.c; libyal, documentation of the Resilient File System: cluster 30, and before the end.
    row("ReFS", At(&[0]), (3, b"ReFS\0\0\0\0")),
    row("ReFS", At(&[120 * KIB, 1920 * KIB]), (0, b"SUPB")),
    row("ReFS", End, (0, b"SUPB")),
    // Storage Spaces: the pool's database lies in a partition of its own.
    row("Storage Spaces", At(&[0, 4 * KIB]), (0, b"SPACEDB ")),
    row("exfat", At(&[0, 6 * KIB]), (3, b"EXFAT   ")),
    // libblkid, superblocks/vmfs.c.
    row("VMFS_volume_member", At(&[MIB]), (0, b"\x0d\xd0\x01\xc0")),
    row("VMFS", At(&[2 * MIB, 18 * MIB]), (0, b"\x5e\xf1\xab\x2f")),
    // Ceph, src/os/bluestore/BlueStore.cc: BDEV_LABEL_POSITIONS.
    row("ceph_bluestore", At(&[0, GIB, 10 * GIB, 100 * GIB, 1000 * GIB]), (0, b"bluestore block device")),
    // Linux, fs/ocfs2/ocfs2_fs.h: OCFS2_BACKUP_SB_START, six copies, each four times as far.
    row("ocfs2", At(&[4 * KIB, 8 * KIB, GIB, 4 * GIB, 16 * GIB, 64 * GIB, 256 * GIB, TIB]), (0, b"OCFSV2")),
    // Oracle ASM: the disk's header, and its copy in the last block but one of the second allocation unit.
    row("oracleasm", At(&[0, 2 * MIB - 8 * KIB, 8 * MIB - 8 * KIB]), (32, b"ORCLDISK")),
    row("oracleasm", At(&[16 * MIB - 8 * KIB, 32 * MIB - 8 * KIB]), (32, b"ORCLDISK")),
    row("oracleasm", At(&[64 * MIB - 8 * KIB, 128 * MIB - 8 * KIB]), (32, b"ORCLDISK")),
    // libblkid: gfs2.c, jfs.c, reiserfs.c, nilfs.c, hfs.c, luks.c, drbd.c.
    row("gfs2", At(&[64 * KIB]), (0, b"\x01\x16\x19\x70\0\0\0\x01")),
    row("jfs", At(&[32 * KIB, 60 * KIB]), (0, b"JFS1")),
    row("reiserfs", At(&[8 * KIB, 64 * KIB]), (52, b"ReIsEr")),
    row("nilfs2", At(&[KIB]), (6, b"\x34\x34")),
    row("hfsplus", At(&[KIB]), (0, b"H+\0\x04")),
    row("hfsplus", End, (0, b"H+\0\x04")),
    row("crypto_LUKS", At(&[0]), (0, b"LUKS\xba\xbe")),
    // cryptsetup, lib/luks2/luks2.h: LUKS2 has its second header at one of these.
    row("crypto_LUKS", At(&[16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB]), (0, b"SKUL\xba\xbe")),
    row("crypto_LUKS", At(&[512 * KIB, MIB, 2 * MIB, 4 * MIB]), (0, b"SKUL\xba\xbe")),
    row("drbd", End, (60, b"\x83\x74\x02\x6b")),
    // Linux, include/uapi/linux/raid/md_p.h: 1.1 at the beginning, 1.2 at 4 KiB, 0.90 and 1.0 at the end.
    row("linux_raid_member", At(&[0, 4 * KIB]), (0, b"\xfc\x4e\x2b\xa9")),
    row("linux_raid_member", End, (0, b"\xfc\x4e\x2b\xa9")),
    // mdadm: super-ddf.c and super-intel.c; libblkid, superblocks/*_raid.c for the others. All at the end.
    row("ddf_raid_member", End, (0, b"\xde\x11\xde\x11")),
    row("isw_raid_member", End, (0, b"Intel Raid ISM Cfg Sig. ")),
    row("promise_fasttrack_raid_member", End, (0, b"Promise Technology, Inc.")),
    row("nvidia_raid_member", End, (0, b"NVIDIA  ")),
    row("lsi_mega_raid_member", End, (0, b"$XIDE$")),
    row("adaptec_raid_member", End, (0, b"DPTM")),
    // Windows' dynamic disks, as in the kernel's block/partitions/ldm.h.
    row("LDM", End, (0, b"PRIVHEAD")),
];

const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";

/// Where first partitions begin, and those behind a small first one: with DOS's 63 sectors, directly behind a GPT, at 1
/// MiB (parted, sfdisk, Windows), behind Microsoft's reserved partition (16, 32 or 128 MiB), behind an EFI system
/// partition of the usual sizes, or behind that, /boot and swap.
const BASES: [u64; 32] = [
    0,
    63 * 512,
    34 * 512,
    40 * 512,
    MIB,
    2 * MIB,
    4 * MIB,
    8 * MIB,
    16 * MIB,
    16 * MIB + 34 * 512,
    17 * MIB,
    33 * MIB,
    65 * MIB,
    101 * MIB,
    117 * MIB,
    128 * MIB + 34 * 512,
    129 * MIB,
    201 * MIB,
    217 * MIB,
    257 * MIB,
    301 * MIB,
    501 * MIB,
    513 * MIB,
    529 * MIB,
    601 * MIB,
    GIB,
    GIB + MIB,
    1537 * MIB,
    2 * GIB + MIB,
    4 * GIB + MIB,
    8 * GIB + MIB,
    16 * GIB + MIB,
];

/// Every place on a disk of this size, with what would be there, in no order.
pub fn places(size: u64) -> Vec<(u64, &'static Copies)> {
    let each = BASES.into_iter().flat_map(move |base| {
        TABLE.iter().flat_map(move |copies| {
            offsets(&copies.places, base, size).into_iter().map(move |offset| (offset, copies))
        })
    });
    each.filter(|(offset, copies)| offset + copies.magic.0 < size).collect()
}

fn offsets(places: &Places, base: u64, size: u64) -> Vec<u64> {
    let length = size.saturating_sub(base);
    match places {
        At(offsets) => offsets.iter().map(|offset| base + offset).collect(),
        End => Vec::new(),
        ExtGroups { block } => ext_groups(*block, length).into_iter().map(|offset| base + offset).collect(),
        XfsGroups => xfs_groups(base, size).into_iter().map(|offset| base + offset).collect(),
        Middle => vec![base + length / 2 / (4 * KIB) * (4 * KIB)],
    }
}

fn ext_groups(block: u64, length: u64) -> Vec<u64> {
    let group = 8 * block * block;
    let count = length.div_ceil(group);
    // Of small blocks, the first is the boot block.
    let first = if block == KIB { KIB } else { 0 };
    let mut groups = vec![1, count.saturating_sub(1)];
    for factor in [3_u64, 5, 7] {
        groups.extend(
            std::iter::successors(Some(factor), |group| Some(group * factor)).take_while(|g| *g < count),
        );
    }
    groups.into_iter().map(|number| number * group + first).collect()
}

/// Where the second group begins, for each number of groups and each end that a file system may have had; all of them
/// where they have the greatest size.
fn xfs_groups(base: u64, size: u64) -> Vec<u64> {
    const BLOCK: u64 = 4 * KIB;
    const GREATEST: u64 = TIB - BLOCK;
    const EXTENT: u64 = 4 * MIB;
    let length = size.saturating_sub(base);
    // To the end of the disk; a partition with a backup GPT behind it, rounded or not; a volume of whole LVM extents.
    let behind_gpt = length.saturating_sub(33 * 512);
    let ends =
        [length, behind_gpt, behind_gpt / MIB * MIB, length / EXTENT * EXTENT, behind_gpt / EXTENT * EXTENT];
    // A whole disk may have had any number: mkfs.xfs goes by processors and stripes as well.
    let counts: Vec<u64> = if base == 0 { (2..=256).collect() } else { vec![2, 4, 8, 16, 32] };
    let mut found: Vec<u64> = (1..=16).map(|number| number * GREATEST).collect();
    for end in ends {
        found.extend(counts.iter().map(|count| (end / BLOCK).div_ceil(*count) * BLOCK));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds_at(size: u64, place: u64) -> Vec<&'static str> {
        places(size)
            .into_iter()
            .filter(|(offset, _)| *offset == place)
            .map(|(_, copies)| copies.kind)
            .collect()
    }

    #[test]
    fn copies_lie_where_their_documents_say() {
        let size = 4 * TIB;
        for (kind, place) in [
            ("btrfs", 64 * MIB),
            ("btrfs", 256 * GIB),
            ("btrfs", 256 * GIB + MIB),
            // dumpe2fs: group 1 of 1 KiB blocks begins at block 8193, group 3 of 4 KiB blocks at 98304.
            ("ext4", 8193 * KIB),
            ("ext4", 98304 * 4 * KIB),
            ("ext4", 98304 * 4 * KIB + MIB),
            ("xfs", TIB),
            ("xfs", TIB - 4 * KIB),
            ("ntfs", 17 * MIB),
            ("ntfs", 17 * MIB + 3 * GIB),
            ("ntfs", 2 * TIB),
            ("ceph_bluestore", 100 * GIB),
            ("ocfs2", 64 * GIB),
        ] {
            assert!(kinds_at(size, place).contains(&kind), "{kind} at {place}");
        }
        assert!(kinds_at(size, 1024 * TIB).is_empty(), "behind the end");
        assert!(kinds_at(2048 * TIB, 1024 * TIB).contains(&"btrfs"));
    }

    #[test]
    fn they_are_few_enough_to_be_read() {
        for size in [GIB, 400 * GIB, 4 * TIB, 8 * TIB, 32 * TIB] {
            let blocks: std::collections::BTreeSet<u64> =
                places(size).into_iter().map(|(offset, copies)| (offset + copies.magic.0) / 4096).collect();
            assert!(blocks.len() < 8000, "{} on {size}", blocks.len());
        }
        assert!(places(0).is_empty());
    }
}
