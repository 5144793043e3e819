//! Builds plugins without the server: `cargo run --release -p postern --example plugin_build -- DIR…`.
#![allow(clippy::print_stderr)]

#[path = "../src/cli/plugin_build.rs"]
mod plugin_build;

fn main() -> anyhow::Result<()> {
    for dir in std::env::args().skip(1) {
        let component = plugin_build::build(dir.as_ref())?;
        let size = std::fs::metadata(&component)?.len();
        eprintln!("{} ({} KiB)", component.display(), size.div_ceil(1024));
    }
    Ok(())
}
