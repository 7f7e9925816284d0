//! The arguments of listed flips, read where the replay itself did not need them.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _};
use weir_recorder::{CallGroup, RecordError};

use crate::partial::Listed;

/// Reads the arguments of listed flips, where the replay itself did not need them.
pub(crate) fn recall_arguments(
    groups: &[CallGroup],
    flips: &mut [Listed],
) -> Result<(), RecordError> {
    let mut wanted: BTreeMap<(usize, usize), &mut Listed> = flips
        .iter_mut()
        .filter(|listed| !listed.is_read)
        .map(|listed| ((listed.group, listed.row as usize), listed))
        .collect();
    let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (group, row) in wanted.keys() {
        rows.entry(*group).or_default().push(*row);
    }
    for (which, rows) in rows {
        let Some(group) = groups.get(which) else {
            continue;
        };
        let ranges: Vec<_> = rows.iter().map(|row| *row..row + 1).collect();
        let mut rows = rows.iter();
        for batch in group.read_ranges(&["arguments"], &ranges)? {
            let batch = batch?;
            let texts = batch.column(0).as_string_opt::<i32>();
            for (place, row) in (0..batch.num_rows()).zip(&mut rows) {
                let text = texts.filter(|texts| texts.is_valid(place));
                if let Some(listed) = wanted.get_mut(&(which, *row)) {
                    listed.flip.arguments = text.map(|texts| texts.value(place).to_owned());
                }
            }
        }
    }
    Ok(())
}
