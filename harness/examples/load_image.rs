//! Loads an image into the KIND cluster and says how long it took: `cargo run --example load_image IMAGE`, to be
//! compared with `kind load docker-image IMAGE --name hubcheck`.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use harness::cluster::kind::{CLUSTER, Goes, Image, Kind, RunLock};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let reference = std::env::args().nth(1).ok_or("which image?")?;
    let lock = Arc::new(RunLock::take("load", CLUSTER)?);
    let kind = Kind::up(lock, Goes::Never, &AtomicBool::new(false), &|_| {}).await?;
    let began = Instant::now();
    let loaded = kind.load(&Image { reference }).await?;
    writeln!(io::stdout(), "{} of {} nodes in {:.2?}", loaded.into, loaded.of, began.elapsed())?;
    Ok(())
}
