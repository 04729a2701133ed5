//! Tar archives as Docker wants and gives them: the few kinds of entries that images need. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

/// Tar's unit.
pub(super) const BLOCK: usize = 512;

/// The kinds of entries that an image has: files, as they are written today and were once, and folders.
const KINDS: [u8; 3] = [b'0', 0, b'5'];

/// A file of an archive.
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) is_executable: bool,
    pub(super) content: &'a [u8],
}

/// An archive of these files. It depends on nothing else: no time, no owner.
pub(super) fn archive(files: &[File<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for file in files {
        out.extend_from_slice(&header(file));
        out.extend_from_slice(file.content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn header(file: &File<'_>) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, file.name.as_bytes());
    put(100, if file.is_executable { b"0000755\0" } else { b"0000644\0" });
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", file.content.len()).as_bytes());
    put(136, b"00000000000\0");
    // The sum is made with blanks in its own place.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Leaves the blobs out of an OCI layout that are known where it goes; the rest passes through as it is.
#[derive(Debug)]
pub(super) struct Without {
    known: BTreeSet<String>,
    /// What has come and could not be decided on yet.
    pending: Vec<u8>,
    /// So many bytes of the present entry are still to come, and whether they pass.
    rest: (usize, bool),
    /// How many blocks of nothing have come one after the other.
    empty: usize,
    /// An entry came that says more than these: from then on everything passes.
    is_opaque: bool,
}

impl Without {
    pub(super) fn new(known: BTreeSet<String>) -> Self {
        Self { known, pending: Vec::new(), rest: (0, true), empty: 0, is_opaque: false }
    }

    /// Whether the archive has come to its end, which two blocks of nothing mark.
    pub(super) fn is_over(&self) -> bool {
        self.empty >= 2
    }

    /// Takes a piece of the archive; what of it passes.
    pub(super) fn take(&mut self, mut chunk: Bytes) -> Vec<Bytes> {
        let mut out = Vec::new();
        while !chunk.is_empty() {
            let (left, passes) = self.rest;
            if self.is_opaque {
                out.push(std::mem::take(&mut chunk));
            } else if left > 0 {
                let piece = chunk.split_to(left.min(chunk.len()));
                self.rest.0 -= piece.len();
                out.extend(passes.then_some(piece));
            } else {
                let missing = chunk.len().min(BLOCK - self.pending.len());
                self.pending.extend_from_slice(&chunk.split_to(missing));
                if self.pending.len() == BLOCK {
                    let header = std::mem::take(&mut self.pending);
                    out.extend(self.decide(&header).then(|| Bytes::from(header)));
                }
            }
        }
        out
    }

    /// Whether the entry that begins so passes.
    fn decide(&mut self, header: &[u8]) -> bool {
        self.empty = if header.iter().all(|byte| *byte == 0) { self.empty + 1 } else { 0 };
        let text = |from: usize, to: usize| {
            let field = &header[from..to];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        let size = usize::from_str_radix(text(124, 136).trim(), 8);
        // What stands before an entry to say more about it, and a size that eleven digits cannot say.
        self.is_opaque = !KINDS.contains(&header[156]) || (size.is_err() && self.empty == 0);
        let digest = text(0, 100).strip_prefix("blobs/sha256/").map(str::to_owned);
        let passes = self.is_opaque || digest.is_none_or(|digest| !self.known.contains(&digest));
        self.rest = (size.unwrap_or(0).next_multiple_of(BLOCK), passes);
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_left_out_however_it_is_cut() {
        let blob = |name, content| File { name, is_executable: false, content };
        let index = || blob("index.json", b"{}".as_slice());
        let old = || blob("blobs/sha256/aa", [1; 1500].as_slice());
        let new = || blob("blobs/sha256/bb", [2; 700].as_slice());
        let whole = archive(&[old(), index(), new()]);
        let expected = archive(&[index(), new()]);
        let known = BTreeSet::from(["aa".to_owned()]);
        for size in [1, 7, 511, 512, 513, 4096, whole.len()] {
            let mut without = Without::new(known.clone());
            let left = passed(&mut without, &whole, size);
            assert!(left == expected, "cut into pieces of {size}");
            assert!(without.is_over(), "cut into pieces of {size}");
        }
    }

    fn passed(without: &mut Without, whole: &[u8], size: usize) -> Vec<u8> {
        whole.chunks(size).flat_map(|chunk| without.take(Bytes::copy_from_slice(chunk))).flatten().collect()
    }

    #[test]
    fn the_end_is_known_when_it_has_come_and_not_before() {
        let whole = archive(&[File { name: "index.json", is_executable: false, content: &[0; 2 * BLOCK] }]);
        let mut without = Without::new(BTreeSet::new());
        passed(&mut without, &whole[..whole.len() - BLOCK], 100);
        assert!(!without.is_over(), "a file of nothing is no end, and half of one is none");
        passed(&mut without, &whole[whole.len() - BLOCK..], 100);
        assert!(without.is_over());
    }

    #[test]
    fn what_is_not_understood_passes_with_all_that_follows() {
        let blob = |name| File { name, is_executable: false, content: [1; 700].as_slice() };
        let known = BTreeSet::from(["aa".to_owned()]);
        for (at, byte) in [(156, b'x'), (124, 0x80)] {
            let mut whole = archive(&[blob("index.json"), blob("blobs/sha256/aa")]);
            whole[at] = byte;
            let mut without = Without::new(known.clone());
            assert!(passed(&mut without, &whole, 333) == whole);
        }
    }

    #[test]
    fn the_archive_is_one_that_tar_reads() {
        let files = [
            File { name: "Dockerfile", is_executable: false, content: b"FROM scratch\n" },
            File { name: "hub", is_executable: true, content: &[7; 600] },
        ];
        let archive = archive(&files);
        assert_eq!(archive.len(), 2 * BLOCK + 3 * BLOCK + 2 * BLOCK);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, archive).unwrap();
        let listed = std::process::Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("-rwxr-xr-x") && listed.contains("600"), "{listed}");
    }
}
