//! Prints the normalised form of a transcript: what its snapshot would say. `diff` it with the snapshot of another
//! backend.

use std::error::Error;
use std::io::{self, Write};

use harness::transcript::Transcript;
use harness::transcript::normal::normalise;

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let transcript = Transcript::from_jsonl(&std::fs::read_to_string(path)?)?;
        io::stdout().write_all(normalise(&transcript).as_bytes())?;
    }
    Ok(())
}
