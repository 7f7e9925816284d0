//! Tables that are made of others: read anew by every question, as the tables are.

use std::sync::Arc;

use datafusion::catalog::view::ViewTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use futures_util::FutureExt as _;

/// The views, by name, each with its SQL.
const VIEWS: [(&str, &str); 4] = [
    ("grants", include_str!("views/grants.sql")),
    ("ocsf", include_str!("views/ocsf.sql")),
    ("policies", include_str!("views/policies.sql")),
    ("sessions", include_str!("views/sessions.sql")),
];

/// Adds the views to a session that has the tables and functions.
pub(super) fn register(context: &SessionContext) -> Result<()> {
    for (name, sql) in VIEWS {
        let state = context.state();
        // Our tables are at hand, so nothing is waited for.
        let plan = state
            .create_logical_plan(sql)
            .now_or_never()
            .ok_or_else(|| {
                DataFusionError::Internal(format!("the view `{name}` waits for a table"))
            })??;
        let view = ViewTable::new(plan, Some(sql.to_owned()));
        context.register_table(name, Arc::new(view))?;
    }
    Ok(())
}
