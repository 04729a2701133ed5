//! Loads an image into the KIND cluster and says how long it took: `cargo run --example load_image IMAGE`, to be
//! compared with `kind load docker-image IMAGE --name hubcheck`.

use std::error::Error;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use harness::cluster::kind::{Image, Kind};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let reference = std::env::args().nth(1).ok_or("which image?")?;
    let kind = Kind::up("load", &AtomicBool::new(false), &|_| {}).await?;
    let began = Instant::now();
    let loaded = kind.load(&Image { reference }).await?;
    writeln!(io::stdout(), "{} of {} nodes in {:.2?}", loaded.into, loaded.of, began.elapsed())?;
    Ok(())
}
