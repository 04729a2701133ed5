//! Tar archives as Docker wants and gives them: the few kinds of entries that images need. Pure.

use std::collections::BTreeSet;

/// Tar's unit.
pub(super) const BLOCK: usize = 512;

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
pub(super) struct Without<'k> {
    known: &'k BTreeSet<String>,
    /// What has come and could not be decided on yet.
    pending: Vec<u8>,
    /// So many bytes of the present entry are still to come, and whether they pass.
    rest: (usize, bool),
}

impl<'k> Without<'k> {
    pub(super) fn new(known: &'k BTreeSet<String>) -> Self {
        Self { known, pending: Vec::new(), rest: (0, true) }
    }

    /// Takes a piece of the archive; what of it passes.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(chunk.len());
        let mut chunk = chunk;
        loop {
            let (left, passes) = self.rest;
            if left > 0 {
                let length = left.min(chunk.len());
                if passes {
                    out.extend_from_slice(&chunk[..length]);
                }
                chunk = &chunk[length..];
                self.rest.0 -= length;
                if self.rest.0 > 0 {
                    return out;
                }
            }
            let missing = BLOCK - self.pending.len();
            if chunk.len() < missing {
                self.pending.extend_from_slice(chunk);
                return out;
            }
            self.pending.extend_from_slice(&chunk[..missing]);
            chunk = &chunk[missing..];
            let header = std::mem::take(&mut self.pending);
            self.decide(&header, &mut out);
        }
    }

    fn decide(&mut self, header: &[u8], out: &mut Vec<u8>) {
        let text = |from: usize, to: usize| {
            let field = &header[from..to];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        let size = usize::from_str_radix(text(124, 136).trim(), 8).unwrap_or(0).next_multiple_of(BLOCK);
        let digest = text(0, 100).strip_prefix("blobs/sha256/").map(str::to_owned);
        let passes = digest.is_none_or(|digest| !self.known.contains(&digest));
        if passes {
            out.extend_from_slice(header);
        }
        self.rest = (size, passes);
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
            let mut without = Without::new(&known);
            let left: Vec<u8> = whole.chunks(size).flat_map(|chunk| without.take(chunk)).collect();
            assert!(left == expected, "cut into pieces of {size}");
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
