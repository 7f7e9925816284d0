//! Memory and time of closing, and of opening after a kill, where nothing could be sealed for long.

use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_recorder::{
    Disk, Durability, Log, RecordOptions, Recorder, Source, Space, Storage, StorageFile,
};

use crate::calls::{begun, ended};
use crate::gauge::{memory, pause};

/// Calls under way at any time.
const OPEN: usize = 500;

/// Entries that wait for the disk, at most: they are in memory too.
const WAITING_MAX: usize = 20_000;

/// A disk on which no segment can be made for as long as the flag is set.
#[derive(Debug, Default)]
struct Unsealed {
    disk: Disk,
    is_over: AtomicBool,
}

/// Writes so many calls while nothing can be sealed, and closes; and opens a copy of what was there before.
pub(crate) fn backlogs(folder: &Path, rows: i64) -> Result<(), Box<dyn Error>> {
    let (path, killed) = (folder.join("backlog"), folder.join("killed"));
    let options = RecordOptions {
        durability: Durability::Interval(Duration::from_millis(20)),
        queue_max: usize::MAX,
        ..RecordOptions::new(&path)
    };
    let storage = Arc::new(Unsealed::default());
    let (recorder, mut log, _) =
        Recorder::open(options.clone(), Arc::clone(&storage) as Arc<dyn Storage>)?;
    fill(&recorder, &mut log, rows);
    while recorder.health().waiting > 0 {
        pause(50);
    }
    copy(&path, &killed)?;
    let (files, bytes) = journal(&killed)?;
    let what = format!("{files} journal files of {:.2} GB", bytes as f64 / 1e9);

    let (before, _) = memory();
    let begun = Instant::now();
    storage.is_over.store(true, Ordering::Relaxed);
    recorder.close()?;
    tell(&format!("closing with {what}"), begun, before);
    drop((recorder, log));
    fs::remove_dir_all(&path)?;

    let (before, _) = memory();
    let begun = Instant::now();
    let options = RecordOptions {
        path: killed.clone(),
        signing_key: Some(folder.join("backlog.key")),
        ..options
    };
    let (recorder, log, recovered) = Recorder::open(options, Arc::new(Disk))?;
    tell(&format!("opening with {what}"), begun, before);
    println!("{} calls were open", recovered.unfinished);
    drop((recorder, log));
    Ok(())
}

fn tell(what: &str, begun: Instant, before: f64) {
    let peak = memory().1 - before;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{what}: {seconds:.1} s, peak {peak:.0} MB beside the {before:.0} in use");
}

fn fill(recorder: &Recorder, log: &mut Log, rows: i64) {
    let mut open = VecDeque::new();
    for number in 0..rows {
        open.extend(begun(log, number).map(|seq| (number, seq)));
        let is_due = open.len() > OPEN;
        if let Some((number, seq)) = open.pop_front_if(|_| is_due) {
            ended(log, number, seq);
        }
        while number % 1000 == 0 && recorder.health().waiting > WAITING_MAX {
            pause(1);
        }
    }
}

/// The journal is linked: its files are written once.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to)?;
        } else if path.extension().is_some_and(|it| it == "log") {
            fs::hard_link(&path, &to)?;
        } else if path.file_name().is_some_and(|it| it != "reserve") {
            fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

fn journal(record: &Path) -> io::Result<(usize, u64)> {
    let files = fs::read_dir(record.join("journal"))?;
    let lengths: Vec<u64> = files
        .map(|file| Ok(file?.metadata()?.len()))
        .collect::<io::Result<_>>()?;
    Ok((lengths.len(), lengths.iter().sum()))
}

impl Storage for Unsealed {
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let is_segment = path.extension().is_some_and(|it| it == "tmp")
            && path.components().any(|it| it.as_os_str() == "calls");
        if is_segment && !self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::other("not yet"));
        }
        self.disk.create(path)
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.disk.create_folder(path)
    }
    fn create_private(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.disk.create_private(path)
    }
    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.disk.reserve(path, bytes)
    }
    fn space(&self, folder: &Path) -> io::Result<Option<Space>> {
        self.disk.space(folder)
    }
    fn open(&self, path: &Path) -> io::Result<Source> {
        self.disk.open(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }
    fn read_into(&self, path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.disk.read_into(path, buffer)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
}
