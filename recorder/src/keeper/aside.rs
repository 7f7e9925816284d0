//! The place beside the tables where day folders are built, and where those lie that made room for others.

use std::io;
use std::path::Path;

use crate::layout::{Layout, Table};
use crate::{RecordError, Storage};

/// Removes whatever is aside. What made room for it is durable first: until then it is the record.
pub(crate) fn clear(storage: &dyn Storage, layout: &Layout) -> Result<(), RecordError> {
    let names = |folder: &Path| {
        storage
            .list(folder)
            .map_err(RecordError::io("list", folder))
    };
    let aside = layout.aside();
    let aside = aside.root();
    let tables = names(aside)?;
    if tables.is_empty() {
        return Ok(());
    }
    for table in Table::ALL {
        if tables.iter().any(|name| name == table.folder()) {
            // A table that is not there has nothing that could have taken its place.
            let folder = layout.table(table);
            ignore_absent(storage.sync_folder(&folder))
                .map_err(RecordError::io("sync", &folder))?;
        }
    }
    for table in tables {
        let table = aside.join(table);
        for day in names(&table)? {
            let day = table.join(day);
            for name in names(&day)? {
                let path = day.join(name);
                ignore_absent(storage.remove(&path)).map_err(RecordError::io("remove", &path))?;
            }
            ignore_absent(storage.remove_folder(&day)).map_err(RecordError::io("remove", &day))?;
        }
        sync(storage, &table)?;
    }
    Ok(())
}

pub(super) fn ignore_absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

pub(super) fn sync(storage: &dyn Storage, folder: &Path) -> Result<(), RecordError> {
    storage
        .sync_folder(folder)
        .map_err(RecordError::io("sync", folder))
}
