//! What a commit, a seal, a read and a verification cost on this machine, each beside a bare loop in the same run:
//! `cargo run --release -p weir-recorder --example measure [commit|seal|load|backlog] [ROWS] [FOLDER]`.
#![expect(clippy::print_stdout, reason = "figures for people")]

mod backlog;
mod calls;
mod commit;
mod gauge;
mod load;
mod seal;
mod verify;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut parts, mut rows, mut base) = (Vec::new(), 1 << 20, std::env::temp_dir());
    for argument in std::env::args().skip(1) {
        match (argument.as_str(), argument.parse()) {
            ("commit" | "seal" | "load" | "backlog", _) => parts.push(argument),
            (_, Ok(number)) => rows = number,
            (_, Err(_)) => base = PathBuf::from(argument),
        }
    }
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let folder = base.join(format!("weir-measure-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measure = || {
        if wanted("commit") {
            commit::commits(&folder)?;
        }
        if wanted("seal") {
            let record = folder.join("sealed");
            let key = seal::seals(&record, rows)?;
            verify::verifying(&record, key)?;
        }
        if wanted("load") {
            load::seals_under_load(&folder)?;
        }
        if wanted("backlog") {
            backlog::backlogs(&folder, rows)?;
        }
        Ok(())
    };
    let result = measure();
    std::fs::remove_dir_all(&folder)?;
    result
}
