//! The record's door: opening, sealing, closing, and how it fares.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::budget::{Budget, Room, Watch};
use crate::committer::Committer;
use crate::evidence::{Evidence, Hasher, Witness};
use crate::identity::{self, Identity};
use crate::keeper::{Keeper, Keeping};
use crate::layout::Layout;
use crate::pulse;
use crate::queue::{self, Mode, Queue};
use crate::recovery::{self, Recovery};
use crate::seal::Sealing;
use crate::sealer::Sealer;
use crate::spare::Spare;
use crate::storage::Metered;
use crate::{
    Calls, CompactedDay, Compaction, DigestKey, Durability, Event, EventKind, Hash, Log,
    RecordError, RecordOptions, RecordReader, RemovedDay, Shipment, Storage, Unrecorded,
    VerifyingKey, spilled,
};

/// A record that is open for writing. Clones are handles to the same record; when the last is dropped, it is closed.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    layout: Layout,
    node: Arc<str>,
    key: DigestKey,
    reader: RecordReader,
    evidence: Arc<Evidence>,
    storage: Arc<dyn Storage>,
    keeper: Arc<Keeper>,
    budget: Arc<Budget>,
    /// One document at a time, since two writers of the same one would meet in its file aside.
    keeping: Mutex<()>,
    running: Mutex<Option<Running>>,
}

/// What ends when the record is closed. The lock goes last.
struct Running {
    witness: Witness,
    keeping: Keeping,
    watch: Watch,
    pulse: Sender<()>,
    committer: Receiver<Result<(), Unrecorded>>,
    spare: Arc<Spare>,
    /// Hangs up when no journal file is being made ahead any more.
    stocked: Receiver<()>,
    sealer: JoinHandle<()>,
    lock: Arc<dyn Send + Sync>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running")
    }
}

/// What was found when a record was opened.
#[derive(Debug)]
pub struct Recovered {
    /// The last place taken in the log, none in a new record.
    pub last_seq: Option<i64>,
    /// The time of the last entry, in microseconds since the epoch.
    pub last_decided_at: Option<i64>,
    /// Calls whose outcome was never written; they are `unknown` now, and count as consumed.
    pub unfinished: u64,
    /// A journal ended in the middle of an entry: the process or the machine stopped while writing.
    pub torn: bool,
    /// Reads what was recorded.
    pub reader: RecordReader,
}

impl Recovered {
    /// The recorded calls decided at or after this time (microseconds since the epoch), in (`node`, `seq`) order: what counters are
    /// folded from. With the columns [`crate::CallRows::COLUMNS`], [`crate::CallRows`] walks them.
    pub fn calls_since(&self, micros: i64, columns: &[&str]) -> Result<Calls, RecordError> {
        self.reader.calls_between(columns, Some(micros), None)
    }
}

/// How a record fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Decisions can be written, and there is room for them.
    pub recording: bool,
    /// Why not, or what goes wrong with sealing or with checkpoints.
    pub fault: Option<String>,
    /// Entries waiting for the disk.
    pub waiting: usize,
    /// Entries in the journal and not yet sealed.
    pub unsealed: u64,
    /// The last place taken in the log.
    pub last_seq: Option<i64>,
    /// Segments written since the record was opened.
    pub sealed: u64,
    /// Entries made durable since the record was opened.
    pub durable: u64,
    /// Syncs that this took: how many calls share one says how the disk copes.
    pub syncs: u64,
    /// How much room there is.
    pub room: Room,
}

impl Recorder {
    /// Opens a record to write, making it if it does not exist: takes the folder's lock, recovers the journal, and starts
    /// the threads that commit and seal.
    pub fn open(
        options: RecordOptions,
        storage: Arc<dyn Storage>,
    ) -> Result<(Self, Log, Recovered), RecordError> {
        let layout = Layout::new(&options.path);
        let metered = Arc::new(Metered::new(storage, layout.root()));
        let storage: Arc<dyn Storage> = Arc::clone(&metered) as Arc<dyn Storage>;
        let lock: Arc<dyn Send + Sync> = Arc::from(take_folder(&*storage, &layout)?);
        let identity = Identity::establish(&*storage, &layout, &options)?;
        let key = identity::digest_key(&*storage, &layout)?;
        let node: Arc<str> = identity.node.into();
        let evidence = Arc::new(Evidence::open(&storage, &layout, &node, &options)?);
        let budget = Arc::new(Budget::open(&metered, &layout, &options)?);
        let sealing = Sealing {
            storage: &*storage,
            layout: &layout,
            node: &node,
            evidence: &evidence,
            keys: &options.keys,
        };
        let recover = || recovery::recover(sealing, options.journal_ahead_bytes);
        let recovered = match recover() {
            // What a process that was killed had in reserve is enough to begin with.
            Err(error) if error.of_io().is_some_and(|it| budget.gives_way(it)) => recover(),
            recovered => recovered,
        };
        let Recovery {
            journal,
            last,
            unfinished,
            torn,
        } = recovered?;

        let next_seq = last.map_or(0, |(seq, _)| seq + 1);
        let last_at = last.map_or(i64::MIN, |(_, at)| at);
        let tick = pulse::tick(&options);

        let queue = Arc::new(Queue::new(options, next_seq, last_at, journal.number));
        budget.look(&queue);
        let keeper = Keeper::new(&storage, &layout, &node, &evidence, &budget, &queue);
        let keeper = Arc::new(keeper);
        let spare = Arc::new(Spare::default());
        let (to_sealer, jobs) = mpsc::channel();
        let (to_closed, committer) = mpsc::channel();
        let sealer = Sealer::new(
            Arc::clone(&queue),
            Arc::clone(&storage),
            layout.clone(),
            Arc::clone(&node),
            Arc::clone(&evidence),
            Arc::clone(&budget),
        );
        let (to_hasher, durable) = mpsc::sync_channel(BATCHES_MAX);
        let grown = Arc::clone(&evidence);
        spawn("weir-leaves", move || {
            Hasher::default().run(&grown, &durable);
        })?;
        let (to_answer, done) = mpsc::sync_channel(BATCHES_MAX);
        spawn("weir-answer", move || {
            done.into_iter().for_each(queue::answer);
        })?;
        let witness = Witness::start(&evidence)?;
        let watch = Watch::start(&budget, &queue, Arc::clone(&lock))?;
        let keeping = Keeping::start(Arc::clone(&keeper), Arc::clone(&lock))?;
        // If closing fails, the folder stays locked until nobody can write segments any more.
        let held = Arc::clone(&lock);
        let sealer = spawn("weir-seal", move || {
            sealer.run(&jobs);
            drop(held);
        })?;
        let commits = Arc::new(Committer {
            queue: Arc::clone(&queue),
            storage: Arc::clone(&storage),
            layout: layout.clone(),
            node: Arc::clone(&node),
            sealer: to_sealer,
            leaves: to_hasher,
            answers: to_answer,
            spare: Arc::clone(&spare),
            budget: Arc::clone(&budget),
            closed: to_closed,
        });
        commits
            .start(journal)
            .map_err(RecordError::io("start", "the commit thread"))?;
        let (ahead, maker) = (Arc::clone(&spare), Arc::clone(&commits));
        let (to_end, stocked) = mpsc::channel();
        let held = Arc::clone(&lock);
        spawn("weir-ahead", move || {
            ahead.run(&*maker.storage, |room| maker.make(room));
            drop((maker, held, to_end));
        })?;
        let (pulse, stopped) = mpsc::channel();
        spawn("weir-pulse", move || pulse::run(&commits, tick, &stopped))?;

        let reader = RecordReader::open_with(layout.root(), Arc::clone(&storage))?
            .with_keys(queue.options.keys.clone());
        let log = Log::new(Arc::clone(&queue));
        let recovered = Recovered {
            last_seq: last.map(|(seq, _)| seq),
            last_decided_at: last.map(|(_, at)| at),
            unfinished,
            torn,
            reader: reader.clone(),
        };
        let running = Mutex::new(Some(Running {
            witness,
            keeping,
            watch,
            pulse,
            committer,
            spare,
            stocked,
            sealer,
            lock,
        }));
        Ok((
            Self(Arc::new(Inner {
                queue,
                layout,
                node,
                key,
                reader,
                evidence,
                storage,
                keeper,
                budget,
                keeping: Mutex::new(()),
                running,
            })),
            log,
            recovered,
        ))
    }

    /// The node's name in the record.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// The record's folder.
    pub fn path(&self) -> &Path {
        self.0.layout.root()
    }

    /// The key of this record's digests.
    pub fn digest_key(&self) -> &DigestKey {
        &self.0.key
    }

    /// Reads what is recorded, this moment's journal included.
    pub fn reader(&self) -> RecordReader {
        self.0.reader.clone()
    }

    /// Keeps a policy under its digest (`sha256:…`), durable when this returns; fine if it is kept already.
    pub fn keep_policy(&self, digest: &str, document: &[u8]) -> Result<(), RecordError> {
        self.0.keep(&self.0.layout.policies(), digest, document)
    }

    /// Keeps a resolver under its digest, as [`Recorder::keep_policy`].
    pub fn keep_resolver(&self, digest: &str, document: &[u8]) -> Result<(), RecordError> {
        self.0.keep(&self.0.layout.resolvers(), digest, document)
    }

    /// Keeps a result that is too long for its row, durable when this returns: what stands in the column `result` instead,
    /// which names the file by the digest of its bytes. With record keys the file is encrypted.
    pub fn keep_result(&self, result: &[u8]) -> Result<String, RecordError> {
        let folder = self.0.layout.results();
        let storage = &*self.0.storage;
        storage
            .create_folder(&folder)
            .map_err(RecordError::io("create", &folder))?;
        if let Some(why) = self.0.queue.short() {
            return Err(RecordError::Unwritable(why.to_string()));
        }
        let encrypted = self.0.encrypted(result)?;
        let key = encrypted.as_ref().map(|(_, id)| *id);
        let document = encrypted
            .as_ref()
            .map_or(result, |(parcel, _)| parcel.as_slice());
        let digest = identity::digest(document);
        self.0.keeper.expected().insert(&digest);
        self.0.keep(&folder, &digest, document)?;
        Ok(spilled::name(&digest, result.len(), key))
    }

    /// Seals everything queued so far and returns when that is done. Calls without an outcome stay in the journal.
    pub fn seal_now(&self) -> Result<(), RecordError> {
        let (sealed, answer) = mpsc::channel();
        self.0.queue.turn(Some(sealed))?;
        answer.recv().unwrap_or_else(|_| {
            Err(RecordError::Unwritable(
                "the journal had to be given up meanwhile".into(),
            ))
        })
    }

    /// Joins the sealed files of every day that has more than one, while the record goes on being written; tells of each day. A
    /// record that is open does this by itself, see [`RecordOptions::compact_segments`].
    pub fn compact(
        &self,
        mut progress: impl FnMut(&CompactedDay),
    ) -> Result<Compaction, RecordError> {
        self.0.keeper.compact(&mut progress)
    }

    /// Removes the days that are older or more than [`RecordOptions::retain`] keeps. A record that is open does this by itself.
    pub fn retain(&self) -> Result<Vec<RemovedDay>, RecordError> {
        self.0.keeper.retain()
    }

    /// What retention leaves for counters to be rebuilt from, from now on: [`Retain::window`](crate::Retain::window).
    pub fn retain_window(&self, window: Duration) {
        self.0.keeper.retain_window(window);
    }

    /// The key with which checkpoints of this record are verified.
    pub fn public_key(&self) -> VerifyingKey {
        self.0.evidence.public_key()
    }

    /// Replaces the signing key: an event tells of it, and a checkpoint that the old key signs names the new one. Who believes the
    /// old public key believes the new one from there on. Must not be called inside an async runtime.
    pub fn rotate_key(&self) -> Result<VerifyingKey, RecordError> {
        let next = self.0.evidence.next_key()?;
        let detail = serde_json::json!({
            "old": self.public_key().to_string(),
            "new": next.public().to_string(),
        })
        .to_string();
        let event = Event {
            text: Some("the key that signs checkpoints is replaced"),
            detail: Some(detail.as_str()),
            ..Event::of(EventKind::KeyRotation)
        };
        // The log is the writer's; this only queues beside it, as the pulse does.
        let commit = Log::new(Arc::clone(&self.0.queue)).event(i64::MIN, &event);
        let seq = commit.seq();
        commit
            .wait_blocking()
            .map_err(|why| RecordError::Unwritable(why.to_string()))?;
        self.0.evidence.wait_for(Some(seq))?;
        let public = next.public().clone();
        self.0.evidence.rotate(next)?;
        Ok(public)
    }

    /// What a copy of this record consists of now, without its journal; of what the copy is `known` to have nothing is read. None
    /// while nothing was sealed.
    pub fn shipment(&self, known: &HashSet<String>) -> Result<Option<Shipment>, RecordError> {
        Shipment::take(&*self.0.storage, &self.0.layout, known)
    }

    /// The newest checkpoint: its path in the record's folder, and its bytes. None in a new record.
    pub fn checkpoint(&self) -> Result<Option<(String, Vec<u8>)>, RecordError> {
        Shipment::newest_checkpoint(&*self.0.storage, &self.0.layout, &self.0.node)
    }

    /// Vouches for the list of a copy's files, of which this is the digest. Lists are numbered; see [`crate::verify_list`].
    pub fn sign_list(&self, number: u64, digest: &Hash) -> String {
        self.0.evidence.sign_list(number, digest)
    }

    /// When a decision counts as written, or that none is.
    pub fn durability(&self) -> Durability {
        self.0.queue.options.durability
    }

    /// How the record fares.
    pub fn health(&self) -> Health {
        let evidence = self.0.evidence.fault();
        let room = self.0.budget.room();
        let state = self.0.queue.lock();
        let short = state.short().map(ToString::to_string);
        let fault = match &state.mode {
            Mode::Faulty(why) => short.or_else(|| Some(why.to_string())),
            Mode::Recording | Mode::Closing | Mode::Closed => short.or(state.seal_fault.clone()),
        };
        Health {
            recording: state.mode == Mode::Recording && state.short().is_none(),
            fault: fault.or(evidence),
            waiting: state.waiting(),
            unsealed: state.unsealed,
            last_seq: (state.next_seq > 0).then(|| state.next_seq - 1),
            sealed: state.sealed,
            durable: state.durable_entries(),
            syncs: state.syncs,
            room,
        }
    }

    /// Commits what waits, seals it, stops the threads and releases the folder. Calls without an outcome are sealed as
    /// `unknown`. Later entries are refused. Closing twice is fine.
    pub fn close(&self) -> Result<(), RecordError> {
        self.0.close()
    }
}

/// How long a stop waits until the reserve is given up.
const RESERVE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Batches that may wait to be hashed; hashing is far faster than a disk.
const BATCHES_MAX: usize = 64;

impl Inner {
    fn keep(&self, folder: &Path, digest: &str, document: &[u8]) -> Result<(), RecordError> {
        let _keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        identity::keep(&*self.storage, folder, digest, document)
    }

    /// A document encrypted by the record key in use, and its id; none if there is none.
    #[cfg(feature = "encryption")]
    fn encrypted(&self, document: &[u8]) -> Result<Option<(Vec<u8>, &str)>, RecordError> {
        let Some(key) = self.queue.options.keys.active() else {
            return Ok(None);
        };
        let parcel = crate::keys::parcel::wrap(document, key)?;
        Ok(Some((parcel, &key.id)))
    }

    /// A build that cannot encrypt opens no record that is to be encrypted.
    #[cfg(not(feature = "encryption"))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "as with the feature"
    )]
    fn encrypted(&self, _: &[u8]) -> Result<Option<(Vec<u8>, &str)>, RecordError> {
        Ok(None)
    }

    fn close(&self) -> Result<(), RecordError> {
        let Some(running) = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return Ok(());
        };
        let Running {
            witness,
            keeping,
            watch,
            pulse,
            committer,
            spare,
            stocked,
            sealer,
            lock,
        } = running;
        drop(pulse);
        keeping.stop(self.queue.options.commit_wait_max);
        watch.stop(self.queue.options.commit_wait_max.min(RESERVE_WAIT_MAX));
        let was_recording = self.queue.close();
        let committed = if was_recording {
            self.committed(&committer)
        } else {
            Err(unwritable("a storage fault"))
        };
        self.queue.shut();
        spare.close();
        let made = stocked.recv_timeout(self.queue.options.commit_wait_max);
        if made == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the disk hangs; the folder stays locked until it answers");
        }
        let sealed = committed.and_then(|()| {
            // A panic of the sealer leaves the journal, which the next start recovers.
            sealer
                .join()
                .map_err(|_| unwritable("the sealer stopped"))?;
            self.queue
                .lock()
                .seal_fault
                .take()
                .map_or(Ok(()), |why| Err(RecordError::Unwritable(why)))
        });
        witness.stop(self.queue.options.commit_wait_max);
        drop(lock);
        sealed
    }

    fn committed(&self, committer: &Receiver<Result<(), Unrecorded>>) -> Result<(), RecordError> {
        let bound = self.queue.options.commit_wait_max.saturating_mul(2) + Duration::from_secs(1);
        match committer.recv_timeout(bound) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(RecordError::Unwritable(why.to_string())),
            Err(_) => Err(unwritable("the disk does not answer")),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the record was not closed in good order; the next start recovers it");
        }
    }
}

fn unwritable(why: &str) -> RecordError {
    RecordError::Unwritable(why.to_owned())
}

fn take_folder(
    storage: &dyn Storage,
    layout: &Layout,
) -> Result<Box<dyn Send + Sync>, RecordError> {
    let root = layout.root();
    storage
        .create_folder(root)
        .map_err(RecordError::io("create", root))?;
    let lock = storage.lock(&layout.lock()).map_err(|e| {
        if e.kind() == std::io::ErrorKind::WouldBlock {
            return RecordError::Locked {
                path: root.to_owned(),
            };
        }
        RecordError::io("lock", layout.lock())(e)
    })?;
    for folder in layout.folders() {
        storage
            .create_folder(&folder)
            .map_err(RecordError::io("create", &folder))?;
    }
    storage
        .sync_folder(root)
        .map_err(RecordError::io("sync", root))?;
    Ok(lock)
}

pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, RecordError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(RecordError::io("start", name))
}
