//! A client for the HTTPS test: the roots that it trusts come from its environment, which is read once per process.
//!
//! Arguments: the address, then names. Asks each name for `/` there, and prints what came: a line per name.

use std::io::Write;
use std::sync::Arc;

use harness::timeouts::Timeouts;
use harness::transcript::{Path, Recorder};
use harness::wire::{Client, Dialect, Raw, Target};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().ok_or("an address is missing")?.parse()?;
    let (dialect, timeouts) = (Arc::new(Dialect::default()), Arc::new(Timeouts::default()));
    let client = Client::new("a", None, Recorder::new([]), dialect, timeouts);
    for name in args {
        let target = Target {
            path: Path::Service,
            addr,
            authority: "hub.example".to_owned(),
            tls: Some(name.clone()),
        };
        let answer = client.exchange(&target, Raw::new("GET", "/")).await;
        writeln!(std::io::stdout(), "{name}: {:?} {:?}", answer.status, answer.end)?;
    }
    Ok(())
}
