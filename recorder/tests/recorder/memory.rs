//! A storage in memory that loses power, fails and hangs when a test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::Bytes;
use weir_recorder::{Source, Space, Storage, StorageFile};

/// A file system of which nothing is durable until it is synced.
#[derive(Debug, Default)]
pub struct Memory {
    world: Mutex<World>,
    released: Condvar,
    syncs_lie: bool,
}

#[derive(Debug, Default, Clone)]
struct World {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    /// Operations that change anything, so far.
    changes: usize,
    /// Folders that changed names, which no sync of a folder has made durable yet.
    moved: Vec<(PathBuf, PathBuf)>,
    /// The power goes before the change of this number.
    power_until: Option<usize>,
    /// The change of this number fails, and those after it do not.
    fails_at: Option<usize>,
    off: bool,
    faults: Faults,
    hanging: usize,
    /// Bytes that all files may have.
    capacity: Option<usize>,
}

/// What goes wrong, with files below `journal/` unless it says otherwise, until it is taken back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    pub create: bool,
    pub write: bool,
    /// Half of the bytes are written, then an error.
    pub short_write: bool,
    pub sync: bool,
    pub hang_sync: bool,
    /// Files of `calls/` and `events/` cannot be made.
    pub seal: bool,
    /// A sync of a checkpoint hangs.
    pub hang_checkpoint: bool,
    /// Files of the anchor take no bytes, or cannot be synced.
    pub anchor_write: bool,
    pub anchor_sync: bool,
    /// A sync fails of what stands behind a file's first write, its header.
    pub sync_entries: bool,
    /// Files with this in their name cannot be removed.
    pub keep: Option<&'static str>,
    /// No file can get a name that ends so.
    pub name: Option<&'static str>,
    /// Two folders cannot be exchanged.
    pub no_exchange: bool,
    /// The names in folders that end so cannot be synced.
    pub names_of: Option<&'static str>,
    /// No file anywhere takes a byte, and none can be made.
    pub full: bool,
    /// Nothing at all can be changed.
    pub read_only: bool,
    /// Whatever is to be changed waits.
    pub hang: bool,
}

#[derive(Debug, Default, Clone)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// What is left after the machine or the process stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The process was killed: everything written is there.
    Process,
    /// The power failed: only what was synced is there.
    Unsynced,
    /// The power failed while the disk was writing back: half of what was not synced is there too, the last part cut.
    Half,
}

impl Memory {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A storage whose `sync_data` returns while nothing is durable.
    pub fn lying() -> Arc<Self> {
        Arc::new(Self {
            syncs_lie: true,
            ..Self::default()
        })
    }

    /// The power goes before this many changes are made.
    pub fn with_power_for(changes: usize) -> Arc<Self> {
        let memory = Self::default();
        memory.lock().power_until = Some(changes);
        Arc::new(memory)
    }

    pub fn set(&self, faults: Faults) {
        self.lock().faults = faults;
        self.released.notify_all();
    }

    /// From now on all files may have so many bytes.
    pub fn set_capacity(&self, bytes: usize) {
        self.lock().capacity = Some(bytes);
    }

    /// Bytes of all files.
    pub fn used(&self) -> usize {
        self.lock().used()
    }

    pub fn cut_power(&self) {
        self.lock().off = true;
        self.released.notify_all();
    }

    pub fn cut_power_after(&self, changes: usize) {
        let mut world = self.lock();
        world.power_until = Some(world.changes + changes);
    }

    /// After so many changes one fails.
    pub fn fail_after(&self, changes: usize) {
        let mut world = self.lock();
        world.fails_at = Some(world.changes + changes);
    }

    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    pub fn changes(&self) -> usize {
        self.lock().changes
    }

    /// Waits until so many syncs hang.
    pub fn wait_for_hanging(&self, count: usize) {
        let mut world = self.lock();
        while world.hanging < count {
            world = self.released.wait(world).unwrap();
        }
    }

    /// The storage as the next start finds it.
    pub fn after(&self, loss: Loss) -> Arc<Self> {
        let world = self.lock();
        let mut next = World {
            folders: world.folders.clone(),
            capacity: world.capacity,
            ..World::default()
        };
        let names = if loss == Loss::Process {
            &world.names
        } else {
            &world.durable_names
        };
        for (path, file) in names {
            let bytes = world.files[*file].after(loss);
            next.names.insert(path.clone(), next.files.len());
            next.files.push(Contents {
                now: bytes.clone(),
                durable: bytes,
                unsynced: Vec::new(),
            });
        }
        next.durable_names = next.names.clone();
        Arc::new(Self {
            world: Mutex::new(next),
            ..Self::default()
        })
    }

    /// Changes a file behind everybody's back.
    pub fn overwrite(&self, path: &Path, bytes: Vec<u8>) {
        let mut world = self.lock();
        let file = world.names[path];
        world.files[file] = Contents {
            now: bytes.clone(),
            durable: bytes,
            unsynced: Vec::new(),
        };
    }

    /// What is in a file.
    pub fn bytes_of(&self, path: &Path) -> Bytes {
        let world = self.lock();
        world.files[world.names[path]].now.clone().into()
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Counts a change; none is made without power.
    fn change(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.lock();
        if world
            .power_until
            .is_some_and(|until| world.changes >= until)
        {
            world.off = true;
        }
        if world.faults.hang {
            world.hanging += 1;
            self.released.notify_all();
            while world.faults.hang && !world.off {
                world = self.released.wait(world).unwrap();
            }
            world.hanging -= 1;
        }
        if world.off {
            return Err(io::Error::other("no power"));
        }
        if world.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        world.changes += 1;
        if world.fails_at == Some(world.changes - 1) {
            return Err(io::Error::other("input/output error"));
        }
        Ok(world)
    }
}

impl World {
    fn used(&self) -> usize {
        let files: BTreeSet<_> = self.names.values().collect();
        files
            .into_iter()
            .map(|file| self.files[*file].now.len())
            .sum()
    }
}

impl Contents {
    fn after(&self, loss: Loss) -> Vec<u8> {
        match loss {
            Loss::Process => self.now.clone(),
            Loss::Unsynced => self.durable.clone(),
            Loss::Half => {
                let mut bytes = self.durable.clone();
                let half = self.unsynced.len().div_ceil(2);
                for (at, (offset, written)) in self.unsynced.iter().take(half).enumerate() {
                    let cut = if at + 1 == half {
                        written.len() / 2
                    } else {
                        written.len()
                    };
                    put(&mut bytes, *offset, &written[..cut]);
                }
                bytes
            }
        }
    }
}

/// Lets what is in two folders change places.
fn swap(names: &mut BTreeMap<PathBuf, usize>, one: &Path, other: &Path) {
    let moved = |path: &PathBuf| {
        let at = |from: &Path, to: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        at(one, other)
            .or_else(|| at(other, one))
            .unwrap_or_else(|| path.clone())
    };
    *names = names
        .iter()
        .map(|(path, file)| (moved(path), *file))
        .collect();
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

#[derive(Debug)]
struct Open {
    storage: Arc<Memory>,
    file: usize,
    journal: bool,
    checkpoint: bool,
    anchor: bool,
}

/// A storage that hands out files needs to be shared with them.
#[derive(Debug, Clone)]
pub struct Shared(pub Arc<Memory>);

impl Storage for Shared {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.0.change()?.folders.insert(path.to_owned());
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let mut world = self.0.change()?;
        let journal = path.to_string_lossy().contains("/journal/");
        let checkpoint = path.to_string_lossy().contains("/checkpoints/");
        if world.faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let table = path
            .components()
            .any(|part| matches!(part.as_os_str().to_str(), Some("calls" | "events")));
        if (journal && world.faults.create) || (table && world.faults.seal) {
            return Err(io::Error::other("disk full"));
        }
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.files.push(Contents::default());
        let file = world.files.len() - 1;
        world.names.insert(path.to_owned(), file);
        Ok(Box::new(Open {
            storage: Arc::clone(&self.0),
            file,
            journal,
            checkpoint,
            anchor: path.starts_with("/anchor"),
        }))
    }

    fn space(&self, _: &Path) -> io::Result<Option<Space>> {
        let world = self.0.lock();
        let space = |capacity: usize| Space {
            total: capacity as u64,
            free: capacity.saturating_sub(world.used()) as u64,
        };
        Ok(world.capacity.map(space))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let world = self.0.lock();
        let file = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(world.files[file].now.len() as u64)
    }

    fn create_private(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Source> {
        self.read(path)
            .map(|bytes| Source::Bytes(Bytes::from(bytes)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.0.lock();
        if world.off {
            return Err(io::Error::other("no power"));
        }
        let file = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(world.files[file].now.clone())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let world = self.0.lock();
        let below = world
            .names
            .keys()
            .chain(&world.folders)
            .filter_map(|path| path.strip_prefix(folder).ok());
        let names = below
            .filter_map(|path| Some(path.components().next()?.as_os_str().to_str()?.to_owned()));
        Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.change()?;
        let refused = world.faults.name;
        if refused.is_some_and(|end| to.to_string_lossy().ends_with(end)) {
            return Err(io::Error::other("input/output error"));
        }
        let holds_files = |world: &World| {
            let mut below = world.names.keys().filter(|path| path.starts_with(from));
            below.any(|path| path != from)
        };
        if world.folders.remove(from) || holds_files(&world) {
            world.folders.insert(to.to_owned());
            swap(&mut world.names, from, to);
            world.moved.push((from.to_owned(), to.to_owned()));
            return Ok(());
        }
        let file = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let mut world = self.0.change()?;
        if world.names.keys().any(|path| path.starts_with(folder)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        world.folders.remove(folder);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.change()?;
        let file = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if world.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        let mut world = self.0.change()?;
        if world.faults.no_exchange {
            return Err(io::ErrorKind::Unsupported.into());
        }
        swap(&mut world.names, one, other);
        world.moved.push((one.to_owned(), other.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.change()?;
        let kept = world.faults.keep;
        if kept.is_some_and(|part| path.to_string_lossy().contains(part)) {
            return Err(io::Error::other("input/output error"));
        }
        world
            .names
            .remove(path)
            .map(drop)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut world = self.0.change()?;
        let refused = world.faults.names_of;
        if refused.is_some_and(|end| folder.to_string_lossy().ends_with(end)) {
            return Err(io::Error::other("input/output error"));
        }
        let World {
            names,
            durable_names,
            moved,
            ..
        } = &mut *world;
        // A file system writes such steps down in order, and the sync of one folder makes those before it durable.
        for (one, other) in moved.drain(..) {
            swap(durable_names, &one, &other);
        }
        durable_names.retain(|path, _| path.parent() != Some(folder));
        let here = names
            .iter()
            .filter(|(path, _)| path.parent() == Some(folder));
        durable_names.extend(here.map(|(path, file)| (path.clone(), *file)));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.0.lock().locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock(Arc::clone(&self.0), path.to_owned())))
    }
}

struct Lock(Arc<Memory>, PathBuf);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.lock().locked.remove(&self.1);
    }
}

impl StorageFile for Open {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.storage.change()?;
        let faults = world.faults;
        if faults.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let bytes = if self.journal && faults.short_write {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        if (self.journal && faults.write) || (self.anchor && faults.anchor_write) {
            return Err(io::Error::other("no space left"));
        }
        let end = offset as usize + bytes.len();
        let growth = end.saturating_sub(world.files[self.file].now.len());
        let capacity = world.capacity;
        if growth > 0 && capacity.is_some_and(|capacity| world.used() + growth > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let contents = &mut world.files[self.file];
        put(&mut contents.now, offset as usize, bytes);
        contents.unsynced.push((offset as usize, bytes.to_vec()));
        if self.journal && faults.short_write {
            Err(io::Error::other("no space left"))
        } else {
            Ok(())
        }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut world = self.storage.change()?;
        let hangs = |faults: &Faults| {
            (self.journal && faults.hang_sync) || (self.checkpoint && faults.hang_checkpoint)
        };
        if hangs(&world.faults) {
            world.hanging += 1;
            self.storage.released.notify_all();
            while hangs(&world.faults) && !world.off {
                world = self.storage.released.wait(world).unwrap();
            }
            world.hanging -= 1;
        }
        if world.off {
            return Err(io::Error::other("no power"));
        }
        let faults = world.faults;
        if (self.journal && faults.sync) || (self.anchor && faults.anchor_sync) {
            return Err(io::Error::other("input/output error"));
        }
        let mut unsynced = world.files[self.file].unsynced.iter();
        if self.journal && world.faults.sync_entries && unsynced.any(|(at, _)| *at > 0) {
            return Err(io::Error::other("input/output error"));
        }
        if !self.storage.syncs_lie {
            let contents = &mut world.files[self.file];
            contents.durable = contents.now.clone();
            contents.unsynced.clear();
        }
        Ok(())
    }
}
