//! The memory of one session, shared by operators that can spill and operators that cannot.

use std::fmt;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};

/// A pool that keeps a quarter back from those who can spill.
///
/// In DataFusion's fair pool sorts on several threads may hold all of it between them, and then the merge behind them, which
/// cannot spill, gets nothing: a sort that is larger than memory fails instead of spilling.
#[derive(Debug)]
pub(super) struct Shares {
    bytes_max: usize,
    spilling: FairSpillPool,
    staying: UnboundedMemoryPool,
}

impl Shares {
    pub(super) fn of(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            spilling: FairSpillPool::new(bytes_max - bytes_max / 4),
            staying: UnboundedMemoryPool::default(),
        }
    }

    fn share(&self, consumer: &MemoryConsumer) -> &dyn MemoryPool {
        if consumer.can_spill() {
            &self.spilling
        } else {
            &self.staying
        }
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shares of {} bytes", self.bytes_max)
    }
}

impl MemoryPool for Shares {
    fn name(&self) -> &'static str {
        "shares"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.share(consumer).register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.share(consumer).unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.share(reservation.consumer())
            .grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.share(reservation.consumer())
            .shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let held = self.reserved();
        if held.saturating_add(additional) > self.bytes_max {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} wants {additional} bytes more, and {held} of {} are held",
                reservation.consumer().name(),
                self.bytes_max
            )));
        }
        self.share(reservation.consumer())
            .try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.spilling.reserved() + self.staying.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_max)
    }
}
